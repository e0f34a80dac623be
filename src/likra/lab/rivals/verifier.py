"""A verifier: one adapter that learns to say whether a proposed answer is right.

It reads the prompt and the answer as Likra does, and then

    Is this answer right?

on a line of its own (of the template `qa`: "Question: ...\\nAnswer: ...\\nIs this answer right?"), and learns to go on
with " Yes" after right answers and with " No" after wrong ones. The score is L(" Yes") - L(" No"): the difference of
their logits, where each is one token. (Cobbe et al. 2021, arXiv 2110.14168, verify solutions by a head of their own;
Kadavath et al. 2022, arXiv 2207.05221, by such a question.)
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likra.data.conversation import Context
from likra.data.question import Example, Question
from likra.data.templates import Prompter
from likra.errors import InputError
from likra.lab.rival import Method, Rival, rival
from likra.lab.rivals._reading import AS_IT_IS
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of, table_path
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.training.seeds import adapter_seed

ASK = "\nIs this answer right?"
YES, NO = " Yes", " No"
_ADAPTER = "verifier"


@rival("verifier")
class Verifier(Rival):
    methods = (Method("verifier", "Yes/no verifier", training=2, answers="both", normalised=False),)

    def check(self, task: Task) -> None:
        _asking(task.test_prompter.pairs(task.test()[0])[0][0], "")

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Train the adapter; it learns from two answers of each question, and so takes twice the steps of SFT."""
        from likra.engine.loglikelihood import score
        from likra.lab.runner.heads import cost_of, tokens_read
        from likra.lab.runner.learning import head_stack, tokenized, train_to_sizes

        task, config, [seed] = Task.of(settings), config_of(settings), settings["seeds"]
        base, questions = task.base(), task.drawn(settings["sizes"][-1], seed)
        right, wrong = (
            tokenized(base, [[verdict(one) for one in some] for some in task.examples(head, questions, seed, folder)])
            for head in (POSITIVE, NEGATIVE)
        )
        learned = {_ADAPTER: [[*good, *bad] for good, bad in zip(right, wrong, strict=True)]}
        stack = head_stack(base, config, learned, [adapter_seed(seed, negative=False)])
        asked = verdicts(task.test(), task.test_prompter)

        def at_size(size: int) -> None:
            path = table_path(folder, _ADAPTER, size)
            if not path.exists():
                score(base, stack, asked, AS_IT_IS, (_ADAPTER,), memory=task.memory).save(path)

        try:
            how: dict[str, Any] = {"state": folder / "state", "memory": task.memory, "progress": note}
            train_to_sizes(stack, learned, config, settings["sizes"], at_size, **how)
        finally:
            stack.remove()
        cost = cost_of(task, base, {POSITIVE: right, NEGATIVE: wrong})
        read = tokens_read(base, asked, AS_IT_IS) / len(task.test())
        dataclasses.replace(cost, question=read).save(folder)

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        table = Likelihoods.load(table_path(folder, _ADAPTER, size)).head(_ADAPTER)
        score_QC = np.full(pair.tokens_QC.shape, np.nan)
        places = [(row, place) for row, q in enumerate(pair.questions) for place in range(len(q.choices))]
        score_QC[tuple(np.transpose(places))] = table[:, 0] - table[:, 1]
        return {"verifier": score_QC}

    def cost(self, method: Method, folder: Path, pair: Cost) -> Cost:
        return Cost.load(folder)


def verdict(answer: Example) -> Example:
    """What is learned from a right or a wrong answer.

    >>> verdict(Example("Question: Which gas?\\nAnswer:", " argon", right=False))
    Example(prompt='Question: Which gas?\\nAnswer: argon\\nIs this answer right?', completion=' No', right=False)
    """
    return Example(_asking(answer.prompt, answer.completion), YES if answer.right else NO, answer.right, answer.where)


def verdicts(questions: Sequence[Question], prompter: Prompter) -> list[Question]:
    """For each answer of each question, one after the other: whether it is right, yes or no."""
    return [
        Question(f"{question.id} {place}", _asking(prompt, completion), (YES, NO), where=question.where)
        for question in questions
        for place, (prompt, completion) in enumerate(prompter.pairs(question))
    ]


def _asking(prompt: Context, completion: str) -> str:
    if not isinstance(prompt, str):
        raise InputError("the rival verifier needs prompts that are text; leave it out, or take another style.")
    return prompt + completion + ASK
