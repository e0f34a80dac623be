"""Listwise softmax: one adapter that learns to find the right answer likelier than the wrong one.

-log softmax over a question's answers of their summed log-likelihoods, at the right one (Cao et al. 2007, "Learning to
rank: from pairwise approach to listwise approach", with one right answer).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.lab.rival import Method, rival
from likra.lab.rivals._choice import ChoiceRival
from likra.lab.runner.task import POSITIVE, table_path
from likra.scoring.likelihoods import Floats, Likelihoods

if TYPE_CHECKING:
    from likra.training.losses import Choice


@rival("listwise")
class Listwise(ChoiceRival):
    # Not divided by length: it was trained to rank the sums.
    methods = (Method("listwise", "Listwise softmax", training=2, answers="both", normalised=False),)

    def loss(self, settings: dict[str, Any]) -> "Choice":
        from likra.training.losses import Choice

        return Choice(POSITIVE)

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        return {self.name: Likelihoods.load(table_path(folder, self.name, size)).head(POSITIVE)}
