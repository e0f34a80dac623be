"""The ratio trained jointly: two adapters that learn to make L+ - w L- larger for the right answer than for the wrong.

-log softmax over a question's answers of the ratio, at the right one. It is Likra's discriminative twin: the same two
adapters with the same first weights, the same answers, the same score; but each adapter reads both answers, and the two
are trained for the score and not each for its own likelihoods.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.lab.rival import Method, rival
from likra.lab.rivals._choice import ChoiceRival
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import NEGATIVE, POSITIVE, table_path
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.scoring.scores import ratio

if TYPE_CHECKING:
    from likra.training.losses import Choice


@rival("joint")
class Joint(ChoiceRival):
    # Two adapters read each answer, forward and backward. Not divided by length: it was trained to rank the ratio.
    methods = (Method("joint", "Ratio trained jointly", training=4, answers="both", readings=2, normalised=False),)

    def settings(self, plan: Plan) -> dict[str, Any]:
        return {"weight": plan.weight}

    def loss(self, settings: dict[str, Any]) -> "Choice":
        from likra.training.losses import Choice

        return Choice(POSITIVE, NEGATIVE, settings["weight"])

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        table = Likelihoods.load(table_path(folder, self.name, size))
        return {self.name: ratio(table.head(POSITIVE), table.head(NEGATIVE), table.meta["weight"])}
