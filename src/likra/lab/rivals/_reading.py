"""What rivals have in common that read the test answers otherwise than Likra does."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.lab.runner.cost import Cost
from likra.lab.runner.task import Task
from likra.scoring.likelihoods import Floats, Likelihoods

#: Words texts as they are: these rivals word their own.
AS_IT_IS = Prompter("verbatim")
_TOKENS = "tokens_per_question"


def read_base(task: Task, questions: Sequence[Question], prompter: Prompter, path: Path) -> None:
    """Keep the plain base's likelihoods of some questions, in other words than usual, unless they are there already."""
    from likra.engine.loglikelihood import score
    from likra.lab.runner.heads import tokens_read

    if not path.exists():
        tokens = tokens_read(task.base(), questions, prompter) / len(questions)
        score(task.base(), None, questions, prompter, memory=task.memory, meta={_TOKENS: tokens}).save(path)


def beside_base(pair: Cost, path: Path) -> Cost:
    """The cost of what `read_base` kept, beside the reading of the questions themselves."""
    return dataclasses.replace(pair, question=pair.question + Likelihoods.load(path).meta[_TOKENS])


def table_of(task: Task, name: str, score: Callable[[Sequence[TokenizedExample]], Floats]) -> Likelihoods:
    """Any scores of the test answers, in the place of log-likelihoods.

    Args:
        task: The task.
        name: What the scores are called in the table.
        score: Gives the scores of some pairs of context and answer.
    """
    from likra.engine.loglikelihood import encode_question

    test = task.test()
    places = [
        (row, place, pair)
        for row, question in enumerate(test)
        for place, pair in enumerate(encode_question(task.base(), question, task.test_prompter))
    ]
    shape = (len(test), max(len(question.choices) for question in test))
    score_QC, tokens_QC, cut_QC = np.full(shape, np.nan), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for (row, place, pair), value in zip(places, score([pair for *_, pair in places]), strict=True):
        score_QC[row, place], tokens_QC[row, place], cut_QC[row, place] = value, len(pair.completion), pair.cut
    return Likelihoods((name,), list(test), score_QC[None], tokens_QC, cut_QC)
