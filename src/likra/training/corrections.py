"""Corrections, and what is known of the records that heads learned before them; no model is needed for it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from likra.data.canonical import canonical
from likra.data.folds import foldable, folds_of
from likra.data.overlap import digest
from likra.data.question import Example, Question
from likra.data.records import Item, Records, by_kind, question_of
from likra.data.sources import Source, restyled
from likra.data.unpaired import check_both_kinds, in_template_of
from likra.errors import InputError
from likra.scoring.cross_validation import Recipe
from likra.training.config import TrainingConfig
from likra.training.dataset import drawn
from likra.training.provenance import split_to_judge

logger = logging.getLogger(__name__)

#: So many old records that were held out are enough to see on them what is lost. With fewer the old training is
#: repeated, where all old records are kept. Of more than `MOST`, so many are drawn.
ENOUGH, MOST = 100, 1000
_NO_RECORDS = "these heads keep no old records (`likra train --keep-data` lets them)"


@dataclass(frozen=True)
class Lesson:
    """One round of training.

    Attributes:
        new: Records that are learned for the first time, in every epoch.
        replayed: Records of earlier rounds that are learned again, in one of the epochs each.
        recipe: How.
    """

    new: Sequence[Item]
    replayed: Sequence[Item]
    recipe: Recipe

    def without(self, asked: Collection[str]) -> "Lesson":
        """Without the records that ask something of this."""
        new, replayed = ([one for one in some if one.asked not in asked] for some in (self.new, self.replayed))
        return replace(self, new=new, replayed=replayed)


def recipe_of(
    config: TrainingConfig, learning_rate: float | None = None, num_train_epochs: int | None = None
) -> Recipe:
    """The recipe of a configuration, in which a learning rate or a number of epochs may be another.

    Raises:
        InputError: One of them is out of its range.

    >>> recipe_of(TrainingConfig(), num_train_epochs=3).words
    'learning rate 0.0001, 3 epochs'
    """
    rate = config.learning_rate if learning_rate is None else learning_rate
    epochs = config.num_train_epochs if num_train_epochs is None else num_train_epochs
    replace(config, learning_rate=rate, num_train_epochs=epochs)  # checks them
    return Recipe(rate, epochs)


def lessons_of(records: Records, first: Recipe, later: Sequence[Mapping[str, Any]], seed: int) -> list[Lesson]:
    """The rounds in which records were learned, or are about to be.

    Args:
        records: The records.
        first: The recipe of the first round.
        later: `learning_rate`, `num_train_epochs` and `replay` (how many records) of each later one.
        seed: Of the draw of what is replayed.
    """
    found = [Lesson(records.rounds[0], (), first)]
    for number, how in enumerate(later, start=1):
        pool = records.first(number + 1).replayable
        recipe = Recipe(how["learning_rate"], how["num_train_epochs"])
        found.append(Lesson(records.rounds[number], drawn(pool, how["replay"], seed), recipe))
    return found


def folded(items: Sequence[Item], folds: int, seed: int) -> dict[str, int]:
    """What a record asks -> its fold; questions and unpaired records each have their share of every fold.

    Raises:
        InputError: As `folds_of`.
    """
    found: dict[str, int] = {}
    questions, examples = by_kind(items)
    kinds: list[list[Question] | list[Example]] = [questions, examples]
    for some in kinds:
        asked = [item.asked for item in some]
        found = dict(zip(asked, folds_of(some, folds, seed) if some else (), strict=True)) | found
    return found


def asked_in(fold_of: Mapping[str, int], fold: int) -> set[str]:
    """What is asked in one fold."""
    return {asked for asked, own in fold_of.items() if own == fold}


@dataclass(frozen=True)
class Corrections:
    """What heads are to be taught, and what is known of the old records.

    Attributes:
        name: What the corrections are called; None where they have no name.
        lessons: The rounds in which the heads learned and are to learn; of heads that keep no records the last alone.
        fold_of: What a correction asks -> its fold.
        records: The records to keep with the taught heads; None where the old ones were not kept.
        never_learned: Old records that the heads have never learned, on which it is seen what is lost.
        learned: Old records that the heads have learned, on which it is seen what is lost by repeating the old training
            without each fold of them; empty where that is not done.
        why_not: Why it will not be known what is lost; empty where it will.
        known: How many corrections ask what the heads have learned before.
    """

    name: str | None
    lessons: list[Lesson]
    fold_of: dict[str, int]
    records: Records | None
    never_learned: list[Item]
    learned: list[Item]
    why_not: str
    known: int

    @classmethod
    def of(
        cls,
        data: Source | Sequence[Item],
        style: str,
        facts: Mapping[str, Any],
        records: Records | None,
        *,
        config: TrainingConfig,
        recipe: Recipe,
        replay: int | None = None,
        old: Source | Sequence[Item] | None = None,
        folds: int = 5,
    ) -> Self:
        """Look at corrections and at old records.

        Args:
            data: The corrections: a source (of data that names no splits all records are used, else not its test
                split), or records.
            style: The heads' prompt template. Corrections are worded in it, as `Likra.score` words what it is asked.
            facts: What the heads were trained on.
            records: The records that they learned, where they are kept.
            config: How they were trained; all draws have its seed.
            recipe: How they are to learn the corrections.
            replay: How many old records to learn again, once each; default: as many as there are corrections, if so
                many are kept.
            old: Old records to judge by.
            folds: How many folds.

        Raises:
            InputError: These heads cannot be taught, or not with such records.
        """
        _check(facts, records, replay)
        seed = config.seed
        name, items, held_out = _in_template(data, style)
        if not items:
            raise InputError(f"{name or 'the data'}: holds no corrections.")
        fold_of = folded(items, folds, seed)
        if others := by_kind(items)[1]:
            check_both_kinds([example.right for example in others])
        taught = records.taught(items, held_out) if records else None
        pool = taught.replayable if taught else []
        count = min(len(items) if replay is None else replay, len(pool))
        lessons = [Lesson(items, (), recipe)]
        if taught:
            later = [*facts.get("teaching", ()), {**vars(recipe), "replay": count}]
            lessons = lessons_of(taught, recipe_of(config), later, seed)
        learned = _Learned(facts, records)
        never = _never_learned(old, style, learned, records.held_out if records else (), fold_of, seed)
        again = _in_folds(pool, folds) if old is None and len(never) < ENOUGH else []
        why_not = "" if never or again else f"{_NO_RECORDS}; give some that they have never learned with --old"
        if why_not and records:
            why_not = f"those that are kept are fewer than the {folds} folds, or have nothing to choose from"
        known = sum(map(learned.answered, items))
        return cls(name, lessons, fold_of, taught, [] if again else never, again, why_not, known)

    @property
    def items(self) -> Sequence[Item]:
        """The corrections."""
        return self.lessons[-1].new

    @property
    def kept(self) -> list[Item]:
        """Old records that can be learned again."""
        return self.records.replayable if self.records else []


def _check(facts: Mapping[str, Any], records: Records | None, replay: int | None) -> None:
    """Raise InputError where heads cannot be taught, or have nothing to replay."""
    if facts.get("shots"):
        raise InputError(
            f"these heads learned with {facts['shots']} solved examples in each prompt (shots), and cannot be taught "
            "yet; train heads without."
        )
    if facts.get("negatives") == "unrelated":
        raise InputError(
            "these heads learned wrong answers from other data (negatives 'unrelated'), which is not kept, and cannot "
            "be taught; train heads on wrong answers of their own."
        )
    if replay is not None and replay < 0:
        raise InputError(f"replay must be 0 or more, got {replay}.")
    if replay and records is None:
        raise InputError(f"replay is {replay}, but {_NO_RECORDS}; leave it out.")
    if records and len(records.rounds) != 1 + len(facts.get("teaching", ())):
        raise InputError(
            "the records that are kept with these heads are not those of their likra.json; copy the folder again."
        )


def _in_template(data: Source | Sequence[Item], style: str) -> tuple[str | None, list[Item], list[Item]]:
    """The name of data, its records that are learned, and those of a test split that it names, in a template."""
    if not isinstance(data, Source):
        return None, list(data), []
    source = worded_in(data, style)
    items: list[Item] = [*foldable(source)]
    learned = {id(item) for item in items}
    return source.name, items, [item for item in source.all_items if id(item) not in learned]


def worded_in(source: Source, style: str) -> Source:
    """A source in the template of some heads; unpaired data in its own where theirs cannot word it.

    Raises:
        InputError: The template is not for such data.
    """
    if source.unpaired:
        return in_template_of(source, style)
    if source.style == style:
        return source
    try:
        return restyled(source, style)
    except InputError:
        raise InputError(
            f"{source.name}: these heads learned prompts of the template {style!r}, which is not for this data "
            f"({source.form}); teach them with data like that which they learned."
        ) from None


class _Learned:
    """What heads have learned, as far as it is known: the sketch has all of few records, and some of many."""

    def __init__(self, facts: Mapping[str, Any], records: Records | None) -> None:
        self.facts, self._digests = facts, {*facts.get("asked", "").split()}
        kept = [item for some in (records.rounds if records else ()) for item in some]
        self._asked, self._questions = {item.asked for item in kept}, {question_of(item) for item in kept}

    def has(self, item: Item) -> bool:
        """Whether they learned a record that asks the same."""
        return item.asked in self._asked or digest(item) in self._digests

    def answered(self, item: Item) -> bool:
        """Whether they learned an answer to this very question, not only to another one about its state."""
        return question_of(item) in self._questions or digest(item) in self._digests


def _never_learned(
    old: Source | Sequence[Item] | None,
    style: str,
    learned: _Learned,
    held_out: Sequence[Item],
    corrected: Collection[str],
    seed: int,
) -> list[Item]:
    """Old records that heads have never learned, and are not about to: nor others that ask the same."""
    if isinstance(old, Source):
        old = worded_in(old, style)
        found: list[Item] = [*old.items(split_to_judge(learned.facts, old)[0])]
    else:
        found = [*(held_out if old is None else old)]
    left = [item for item in found if item.asked not in corrected and not learned.has(item)]
    if old is not None and not _that_can_be_judged(left):
        name = old.name if isinstance(old, Source) else "the old records"
        raise InputError(
            f"{name}: of its {len(found)} records none is left to judge by: the heads have learned it, or a correction "
            "asks the same; give others."
        )
    if len(left) < len(found) and old is not None:
        logger.warning(
            "%d old records that the heads have learned, or that are corrected, are left out", len(found) - len(left)
        )
    return drawn(_that_can_be_judged(left), MOST, seed)


def _that_can_be_judged(items: Sequence[Item]) -> list[Item]:
    """Questions with a choice, and unpaired records of which some are right and some wrong."""
    questions, examples = by_kind(items)
    found: list[Item] = [one for one in questions if one.answer is not None and _has_choice(one)]
    return found + (examples if len({example.right for example in examples}) == 2 else [])


def _in_folds(items: Sequence[Item], folds: int) -> list[Item]:
    """Those that can be judged, of each kind if it asks enough different things."""
    kinds = by_kind(_that_can_be_judged(items))
    return [item for some in kinds if len({item.asked for item in some}) >= folds for item in some]


def _has_choice(question: Question) -> bool:
    return len(set(map(canonical, question.choices))) > 1
