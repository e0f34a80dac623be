"""What a cross-validation found: accuracies of records by heads that never saw them, and the settings they choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from likra.scoring.accuracy import credit
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.extrapolation import Point, extrapolate
from likra.scoring.folds_interval import effective_count, fold_accuracy, fold_difference
from likra.scoring.likelihoods import NEGATIVE, POSITIVE, Floats, Ints, Likelihoods
from likra.scoring.scores import METHOD_TITLES, NORMALIZATIONS

#: Weights of the negative head among which one is chosen.
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.25)
#: Methods that need no adapters -> title.
BESIDE_TITLES = {"pmi": "PMI", "tfidf": "TF-IDF", "hidden": "Hidden states"}


@dataclass(frozen=True, order=True)
class Recipe:
    """What may be tried in training.

    >>> Recipe(1e-3, 5).words
    'learning rate 0.001, 5 epochs'
    """

    learning_rate: float
    num_train_epochs: int

    @property
    def words(self) -> str:
        """It, for people."""
        epochs = self.num_train_epochs
        return f"learning rate {self.learning_rate:g}, {epochs} epoch{'s' * (epochs > 1)}"


@dataclass(frozen=True)
class Setting:
    """How a method is trained and scored.

    Attributes:
        recipe: How its heads are trained; None for the base, which is not.
        weight: w in L+ - w * L-; None where there is no negative head.
        normalization: One of `NORMALIZATIONS`.
    """

    recipe: Recipe | None
    weight: float | None
    normalization: str

    @property
    def words(self) -> str:
        """It, for people."""
        weight = None if self.weight is None else f"weight {self.weight:g}"
        recipe = self.recipe.words if self.recipe else None
        return ", ".join(filter(None, (recipe, weight, f"normalization {self.normalization}")))

    def as_json(self) -> dict[str, Any]:
        return {
            **(vars(self.recipe) if self.recipe else {}),
            **({} if self.weight is None else {"weight": self.weight}),
            "normalization": self.normalization,
        }


@dataclass(frozen=True)
class Choice:
    """A method's setting, chosen by the records themselves, and what it is worth.

    Attributes:
        setting: What all records choose: the setting to train with.
        accuracy: Of each record under the setting that the records of the other folds chose: an honest figure.
        worth: That accuracy less the one at the default setting.
        scores_QC: [Q, C] scores of each record under the setting that the other folds chose; copies of a text once.
    """

    setting: Setting
    accuracy: Estimate
    worth: Estimate
    scores_QC: Floats

    def as_json(self) -> dict[str, Any]:
        return {"setting": self.setting.as_json(), **self.accuracy.as_accuracy(), "worth": self.worth.as_json()}


@dataclass(frozen=True)
class CrossValidation:
    """Every record judged once, by heads that saw neither it nor another record that asks the same.

    Attributes:
        tables: How heads were trained -> their table of all records [Q], each read by the heads of the other folds.
            All have the same records in the same order.
        default: The recipe that stands for all unless another is chosen.
        fold_Q: [Q] the fold of each record, from 0.
        weight, normalization: Of the scores, unless others are chosen.
        normalizations: Those among which one is chosen.
        beside: Method without adapters -> its scores [Q, C] (`BESIDE_TITLES`).
        smaller: Number of training records -> table of heads that learned from so many, by the default recipe.
    """

    tables: Mapping[Recipe, Likelihoods]
    default: Recipe
    fold_Q: Ints
    weight: float = 1.0
    normalization: str = "raw"
    normalizations: Sequence[str] = tuple(NORMALIZATIONS)
    beside: Mapping[str, Floats] = field(default_factory=dict)
    smaller: Mapping[int, Likelihoods] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold_Q.max()) + 1

    @property
    def likelihoods(self) -> Likelihoods:
        """The table of the default recipe."""
        return self.tables[self.default]

    @cached_property
    def groups(self) -> list[str]:
        """Equal for records that ask the same."""
        return [question.asked for question in self.likelihoods.questions]

    @cached_property
    def credits(self) -> dict[str, Floats]:
        """method -> [Q] credit at the default setting, in the order in which methods are shown."""
        own = self._evaluation(self.default, self.weight, self.normalization).credits
        beside = {
            name: credit(self.likelihoods.once(scores_QC), self.likelihoods.answers_Q)
            for name, scores_QC in self.beside.items()
        }
        return {"base": own["base"], **beside, **own}

    @cached_property
    def methods(self) -> dict[str, Estimate]:
        """method -> accuracy at the default setting, with an interval that knows the folds (`effective_count`)."""
        return {method: fold_accuracy(credit_Q, self.groups, self.folds) for method, credit_Q in self.credits.items()}

    @cached_property
    def best(self) -> str:
        """The best method that the heads allow."""
        return [method for method in self.credits if method in METHOD_TITLES][-1]

    def difference(self, first: str, second: str) -> Estimate:
        """How much better one method is than another, at the default setting."""
        return fold_difference(self.credits[first], self.credits[second], self.groups, self.folds)

    @property
    def points(self) -> list[Point]:
        """Accuracy of the best method against the number of training records, at the default setting."""
        all_but_one = round(len(self.fold_Q) * (self.folds - 1) / self.folds)
        tables = dict(sorted({**self.smaller, all_but_one: self.likelihoods}.items()))
        found = {
            size: self._evaluation_of(table, self.weight, self.normalization).credits[self.best]
            for size, table in tables.items()
        }
        return [
            Point(size, credit_Q, effective_count(credit_Q, self.groups, self.folds))
            for size, credit_Q in found.items()
        ]

    def expected(self, more: int) -> Estimate:
        """The accuracy to expect of the best method with so many more records (`extrapolate`).

        Raises:
            InputError: There is one training size only.
        """
        chance = self._evaluation(self.default, self.weight, self.normalization).chance
        [found] = extrapolate(self.points, [len(self.fold_Q) + more], chance=chance)
        return found

    @cached_property
    def chosen(self) -> dict[str, Choice]:
        """method -> its chosen setting; methods of the adapters, and the base.

        By nested folds and without another pass: the records of all other folds choose a fold's setting. The highest
        accuracy wins; of equal ones the one first tried, which is the default, then what is near it.
        """
        found = {}
        for method, (settings, scores_SQC, credit_SQ) in self._tried.items():
            chosen_Q, rows_Q = _nested(credit_SQ, self.fold_Q), np.arange(len(self.fold_Q))
            credit_Q = credit_SQ[chosen_Q, rows_Q]
            found[method] = Choice(
                settings[int(np.argmax(credit_SQ.sum(axis=1)))],
                fold_accuracy(credit_Q, self.groups, self.folds),
                fold_difference(credit_Q, self.credits[method], self.groups, self.folds),
                scores_SQC[chosen_Q, rows_Q],
            )
        return found

    def taken(self, methods: Sequence[str], without: int | None = None) -> tuple[str, Setting]:
        """The best of some methods by its nested accuracy, of equally good ones the first; and its setting.

        Args:
            methods: Methods of the adapters, or the base.
            without: A fold that has no part in it.
        """
        own_Q = np.ones(len(self.fold_Q), bool) if without is None else self.fold_Q != without
        found = []
        for method in methods:
            settings, _, credit_SQ = self._tried[method]
            here_SQ, fold_Q = credit_SQ[:, own_Q], self.fold_Q[own_Q]
            nested_Q = here_SQ[_nested(here_SQ, fold_Q), np.arange(len(fold_Q))]
            found.append((float(nested_Q.sum()), method, settings[int(np.argmax(here_SQ.sum(axis=1)))]))
        best = max(total for total, _, _ in found)
        return next((method, setting) for total, method, setting in found if total >= best - 1e-9)

    @cached_property
    def _tried(self) -> dict[str, tuple[list[Setting], Floats, Floats]]:
        """method -> the settings that are tried, the default first; their scores [S, Q, C]; their credits [S, Q]."""
        found = {}
        for method in METHOD_TITLES:
            if method in self.credits:
                settings = self._settings(method)
                scores_SQC = np.stack([self.scores(method, setting) for setting in settings])
                credit_SQ = np.stack([credit(scores_QC, self.likelihoods.answers_Q) for scores_QC in scores_SQC])
                found[method] = settings, scores_SQC, credit_SQ
        return found

    def scores(self, method: str, setting: Setting) -> Floats:
        """[Q, C] scores of the answers, each once, at one setting."""
        found = self._evaluation(setting.recipe or self.default, setting.weight or 0.0, setting.normalization)
        return found.scores[method]

    def _settings(self, method: str) -> list[Setting]:
        """What is tried: the default first, then what is near it."""
        weighed = method in ("base_likra", "likra")
        weights = sorted({*WEIGHTS, self.weight}, key=lambda weight: abs(weight - self.weight)) if weighed else [None]
        recipes = sorted(self.tables, key=lambda recipe: (recipe != self.default, recipe))
        names = sorted({self.normalization, *self.normalizations}, key=lambda name: (name != self.normalization, name))
        return [
            Setting(recipe, weight, name)
            for recipe in ([None] if method == "base" else recipes)
            for weight in weights
            for name in names
        ]

    def _evaluation(self, recipe: Recipe, weight: float, normalization: str) -> Evaluation:
        return self._evaluation_of(self.tables[recipe], weight, normalization)

    def _evaluation_of(self, table: Likelihoods, weight: float, normalization: str) -> Evaluation:
        positive, negative = (name if name in table.heads else None for name in (POSITIVE, NEGATIVE))
        return Evaluation(table, positive, negative, weight, normalization)

    def as_json(self) -> dict[str, Any]:
        """What `Evaluation.as_json` gives, with the folds and what they choose."""
        return {
            **self._evaluation(self.default, self.weight, self.normalization).as_json(),
            "folds": self.folds,
            **vars(self.default),
            "methods": {method: value.as_accuracy() for method, value in self.methods.items()},
            "chosen": {method: choice.as_json() for method, choice in self.chosen.items()},
        }


def _nested(credit_SQ: Floats, fold_Q: Ints) -> Ints:
    """[Q] the setting of each record: the best on the records of the other folds; the first of equals."""
    chosen_Q = np.zeros(len(fold_Q), dtype=np.int64)
    for fold in np.unique(fold_Q):
        own_Q = fold_Q == fold
        chosen_Q[own_Q] = int(np.argmax(credit_SQ[:, ~own_Q].sum(axis=1)))
    return chosen_Q


def joined(pieces: Sequence[tuple[Ints, Sequence[str], Likelihoods]], count: int, heads: Sequence[str]) -> Likelihoods:
    """One table of tables of some of its records each.

    Args:
        pieces: Places of a piece's records in the whole; what its columns are called in the whole; the piece.
        count: Records in all.
        heads: Columns of the whole.
    """
    width = max(table.tokens_QC.shape[1] for _, _, table in pieces)
    whole = Likelihoods(
        tuple(heads),
        [None] * count,  # type: ignore[list-item]  # all are set below
        np.full((len(heads), count, width), np.nan),
        np.zeros((count, width), dtype=np.int64),
        np.zeros((count, width), dtype=np.int64),
        dict(pieces[0][2].meta),
    )
    for rows, names, table in pieces:
        own = slice(0, table.tokens_QC.shape[1])
        for row, question in zip(rows.tolist(), table.questions, strict=True):
            whole.questions[row] = question
        whole.tokens_QC[rows, own], whole.cut_QC[rows, own] = table.tokens_QC, table.cut_QC
        for name, values_QC in zip(names, table.logprob_HQC, strict=True):
            whole.logprob_HQC[whole.heads.index(name), rows, own] = values_QC
    ways = {table.meta["precision"] for _, _, table in pieces}
    shares = [share for _, _, table in pieces if (share := table.meta["rounding"]) is not None]
    whole.meta |= {"precision": " and ".join(sorted(ways)), "rounding": max(shares, default=None)}
    return whole
