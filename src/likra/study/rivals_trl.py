"""The work of the rivals that TRL trains: DPO, NCA, KTO, a reward head."""

from pathlib import Path
from typing import Any

import numpy as np

from likra.files import write_json
from likra.heads.base import Base
from likra.heads.stack import HeadStack
from likra.likelihood.engine import encode_question, score
from likra.likelihood.table import Likelihoods
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.study.cells import Note
from likra.study.heads import table_path
from likra.study.task import NEGATIVE, POSITIVE, Task, recipe_of
from likra.study.trl import Rival, Triple, train_rival


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train one method on the right and wrong answers of one seed, in Likra's order, and keep its table per size."""
    task, recipe, seed, method = Task.of(settings), recipe_of(settings), int(settings["seed"]), settings["method"]
    sizes: list[int] = settings["sizes"]
    base, questions, test = task.base(), task.drawn(sizes[-1], seed), task.test()
    right, wrong = (task.examples(head, questions, seed, folder) for head in (POSITIVE, NEGATIVE))
    triples = [Triple(good.prompt, good.completion, bad.completion) for [good], [bad] in zip(right, wrong, strict=True)]

    def visit(size: int, rival: Rival) -> None:
        read = _rewards if method == "reward" else _likelihoods
        read(base, rival, test, task.test_prompter, task.memory).save(table_path(folder, "own", size))

    losses = train_rival(
        method, base, triples, sizes, recipe, seed=2 * seed, folder=folder / "state", visit=visit, progress=note
    )
    write_json(folder / "losses.json", losses)


def _likelihoods(base: Base, rival: Rival, test: list[Question], prompter: Prompter, memory: int | None) -> Likelihoods:
    """The policy's likelihoods, read by likra's own engine."""
    stack = HeadStack(base, [rival.method], rank=rival.rank, targets=list(rival.weights))
    try:
        stack.set_weights(rival.method, rival.weights, rank=rival.rank, scaling=rival.scaling)
        return score(base, stack, test, prompter, (rival.method,), memory=memory)
    finally:
        stack.remove()


def _rewards(base: Base, rival: Rival, test: list[Question], prompter: Prompter, memory: int | None) -> Likelihoods:
    """The rewards, in the place of log-likelihoods."""
    places = [(row, pair) for row, question in enumerate(test) for pair in encode_question(base, question, prompter)]
    rewards = iter(rival.rewards([pair for _, pair in places]))
    shape = (len(test), max(len(question.choices) for question in test))
    reward_QC, tokens_QC, cut_QC = np.full(shape, np.nan), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    filled = [0] * len(test)
    for row, pair in places:
        at = row, filled[row]
        reward_QC[at], tokens_QC[at], cut_QC[at] = next(rewards), len(pair.completion), pair.cut
        filled[row] += 1
    return Likelihoods((rival.method,), list(test), reward_QC[None], tokens_QC, cut_QC, {"rewards": True})
