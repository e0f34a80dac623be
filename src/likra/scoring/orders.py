"""Questions whose prompts list the options, judged in several orders of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from likra.data.canonical import canonical
from likra.data.question import Question
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Floats


def in_orders(question: Question, count: int | None = None) -> list[Question]:
    """A question in cyclic orders of its choices, its own order first.

    Args:
        question: The question.
        count: How many orders, evenly apart; all where there are no more, or where it is None.

    >>> [found.choices for found in in_orders(Question("1", "Which gas?", ("oxygen", "argon", "neon"), 0))]
    [('oxygen', 'argon', 'neon'), ('argon', 'neon', 'oxygen'), ('neon', 'oxygen', 'argon')]
    >>> [found.answer for found in in_orders(Question("1", "Which gas?", ("a", "b", "c", "d"), 1), 2)]
    [1, 3]
    """
    size = len(question.choices)
    number = min(size, count or size)
    shifts = [step * size // number for step in range(number)]
    return [
        replace(
            question,
            choices=question.choices[shift:] + question.choices[:shift],
            answer=None if question.answer is None else (question.answer - shift) % size,
        )
        for shift in shifts
    ]


@dataclass(frozen=True)
class EvaluationInOrders(Evaluation):
    """An evaluation of questions that stand in the table in several orders each, one order after the other.

    A question's credit is the mean over its orders, so the accuracy is that of an order drawn at random.

    Attributes:
        orders: For each question, how many rows of the table are its orders.
    """

    orders: Sequence[int] = ()

    @classmethod
    def of(cls, found: Evaluation, orders: Sequence[int]) -> "EvaluationInOrders":
        """The same table, with each question's orders taken together."""
        how = (found.weight, found.normalization, found.method)
        return cls(found.likelihoods, found.positive, found.negative, *how, orders=orders)

    @cached_property
    def credits(self) -> dict[str, Floats]:
        answers_R = self.likelihoods.answers_Q
        orders_Q = np.array(self.orders, dtype=np.int64)
        starts_Q = np.cumsum(orders_Q) - orders_Q
        return {
            method: np.add.reduceat(credit(scores_RC, answers_R), starts_Q) / orders_Q
            for method, scores_RC in self.scores.items()
        }

    @cached_property
    def changed(self) -> dict[str, Estimate]:
        """method -> share of the questions whose answer is another one in another order, with its Wilson interval.

        The answer is the text that scores best; where several tie, all of them.
        """
        ends = np.cumsum(self.orders)
        found = {}
        for method, scores_RC in self.scores.items():
            best_RC = scores_RC == np.nanmax(scores_RC, axis=1, keepdims=True)
            answers = [
                frozenset(canonical(question.choices[place]) for place in np.flatnonzero(best_C))
                for question, best_C in zip(self.likelihoods.questions, best_RC, strict=True)
            ]
            differ = [len({*answers[end - count : end]}) > 1 for end, count in zip(ends, self.orders, strict=True)]
            found[method] = accuracy(np.array(differ, dtype=float))
        return found

    def as_json(self) -> dict[str, Any]:
        changed = {m: one.as_json() for m, one in self.changed.items()}
        return {**super().as_json(), "orders": {"most": max(self.orders), "changed": changed}}
