"""A source: questions, or examples of unpaired data, by split."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from likra.data.forms import Record
from likra.data.question import Example, Question
from likra.errors import InputError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Columns:
    """Which fields of a table hold the text and its label.

    Attributes:
        text: Name of the field of the text.
        label: Name of the field of the label.
        labels: The choices, sorted; empty where they are those of the table itself.
    """

    text: str
    label: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.text == self.label:
            raise InputError(f"text and label are both the field {self.text!r}; name two fields.")

    @property
    def names(self) -> tuple[str, str]:
        """The two fields."""
        return self.text, self.label

    @property
    def listed(self) -> str:
        """The labels, for messages."""
        shown = ", ".join(self.labels[:10])
        return shown if len(self.labels) <= 10 else f"{shown}, ... ({len(self.labels)} in all)"

    def fit(self, record: Record) -> bool:
        """Whether a record has both fields."""
        return all(name in record for name in self.names)


@dataclass
class Source:
    """The questions of one source, by split.

    Attributes:
        name: Its name, as the user gave it.
        form: Name of the form that was recognised.
        style: Prompt style of that form, or the one that a user chose in its place.
        questions: split -> questions whose right answer is known.
        examples: split -> examples, for unpaired data only (then `questions` is empty).
        skipped: reason -> how many records were left out for it.
        chosen: Whether a user chose the style (`load(..., style=...)`).
        hashed: Whether the data names no splits, so that a hash of what is asked made them.
        columns: The fields of a table of texts and labels (`load(..., text=..., label=...)`); None for other data.

    >>> source = Source("mine", "likra", "qa", {"test": [Question("1", "Which gas?", ("oxygen", "argon"), 0)]})
    >>> source.default_split, len(source.split(None)), source.unpaired, source.right_only
    ('test', 1, False, False)
    """

    name: str
    form: str
    style: str
    questions: dict[str, list[Question]] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    chosen: bool = False
    hashed: bool = False
    columns: Columns | None = None

    @property
    def unpaired(self) -> bool:
        """Whether the data is single completions with a label, with no question to choose in."""
        return bool(self.examples)

    @property
    def all_items(self) -> Iterator[Question | Example]:
        """Its questions, or examples, of every split."""
        for split in SPLITS:
            yield from self.questions.get(split, ())
            yield from self.examples.get(split, ())

    @property
    def default_split(self) -> str:
        """The split that is evaluated unless another is named: test, or validation where there is no test."""
        return next((split for split in ("test", "validation") if self._parts.get(split)), "test")

    @property
    def _parts(self) -> Mapping[str, Sequence[Question] | Sequence[Example]]:
        return self.examples or self.questions

    @property
    def right_only(self) -> bool:
        """Whether the data has right answers and no wrong ones."""
        return not self.unpaired and all(len(q.choices) == 1 for split in self.questions.values() for q in split)

    def split(self, name: str | None) -> list[Question]:
        """The questions of one split; `all` for every split; None for test, or validation where there is no test.

        Raises:
            InputError: There is no such split, or its questions have no choices.
        """
        if self.right_only:
            raise InputError(
                f"{self.name}: has right answers only, so there is nothing to choose from; find wrong ones with "
                "`likra mine`, or name a source whose questions have choices."
            )
        if self.unpaired:
            raise InputError(
                f"{self.name}: unpaired data (prompt, completion, label) has no choices to choose from; `likra train`, "
                "`eval` and `calibrate` take it, all else needs a source whose questions have choices."
            )
        return cast(list[Question], self._items(name))

    def items(self, name: str | None) -> list[Question] | list[Example]:
        """As `split`; of unpaired data the examples.

        Raises:
            InputError: As there, but for unpaired data.
        """
        return cast(list[Example], self._items(name)) if self.unpaired else self.split(name)

    def _items(self, name: str | None) -> list[Question | Example]:
        name = name or self.default_split
        if name == "all":
            return [item for split in SPLITS for item in self._parts.get(split, [])]
        if name not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)} or all, got {name!r}.")
        if not self._parts.get(name):
            sizes = ", ".join(f"{split} {len(items)}" for split, items in self._parts.items())
            kind = "records" if self.unpaired else "questions"
            raise InputError(f"{self.name}: has no {kind} in its {name} split (it has: {sizes}); choose another split.")
        return list(self._parts[name])


def right_answers(questions: Iterable[Question]) -> list[str]:
    """The right answers of some questions, for negatives that are drawn from them.

    >>> right_answers([Question("1", "Which gas?", ("oxygen", "argon"), 0), Question("2", "Which?", ("a", "b"))])
    ['oxygen']
    """
    return [question.choices[question.answer] for question in questions if question.answer is not None]


def answers(source: Source) -> list[str]:
    """The right answers of a source's training questions, for `unrelated` negatives.

    Raises:
        InputError: There are none.
    """
    found = right_answers(source.questions.get("train", []))
    if not found:
        raise InputError(f"{source.name}: has no answered training questions to take unrelated answers from.")
    return found
