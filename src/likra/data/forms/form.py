"""A form of data, and the registry of forms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from likra.data.question import Example, Question

Record = Mapping[str, Any]

UNANSWERED = "the right answer is not given"  # as in the test splits of some benchmarks
SAME_CHOICES = "all of its choices are the same text"  # BLiMP has such pairs


class Unusable(Exception):
    """A well-formed record that nothing can be learned from: it is skipped and counted. The text is the reason."""


@dataclass(frozen=True)
class Open:
    """A question whose answer is written in a way that can mean several things; all records of its file decide.

    Attributes:
        question: The question, without its answer.
        field: The field of the answer.
        answer: The value of that field.
        places: Meaning (one of `MEANINGS`) -> index of the choice that the answer then names; at least one.
    """

    question: Question
    field: str
    answer: Any
    places: Mapping[str, int]


#: The ways to write an answer, in the words of messages.
MEANINGS = {
    "text": "the text of choice",
    "letter": "the letter of choice",
    "index": "the index of choice",
    "number": "the number (from 1) of choice",
    "label": "the label of choice",
}


@dataclass(frozen=True)
class Form:
    """One form of data.

    Attributes:
        name: Its name in messages.
        fields: The fields that a record must have, dots for nested ones; shown when a file fits no form.
        style: The prompt style that its benchmark uses.
        read: Turns a record into a Question, into an Open one, or, where the data is unpaired, into an Example. A
            record of several questions gives a list of them, with an `Unusable` for each that is skipped and counted.
        when: What else tells its records from those of another form with the same fields; None: nothing.
        answers: Those of the fields that are read for the right answer alone.
        ask: Turns a record whose right answer need not be known into its questions, as they are scored; None: what
            `read` gives, whose answer is left out.

    >>> form = Form("pairs", ("ask", "good", "bad"), "qa", lambda record: None)
    >>> form.fits({"ask": "Which gas?", "good": "oxygen", "bad": "argon", "id": 3}), form.fits({"ask": "Which gas?"})
    (True, False)
    """

    name: str
    fields: tuple[str, ...]
    style: str
    read: "Callable[[Record], Question | Open | Example | list[Question | Unusable]]"
    when: Callable[[Record], bool] | None = None
    answers: tuple[str, ...] = ()
    ask: "Callable[[Record], Question | list[Question]] | None" = None

    def fits(self, record: Record, answered: bool = True) -> bool:
        """Whether a record has all of the form's fields, but for the answer's if not `answered`, and is of its kind."""
        return not self.lacks(record, answered) and (self.when is None or self.when(record))

    def lacks(self, record: Record, answered: bool = True) -> list[str]:
        """The fields that a record must have and does not have."""
        return [name for name in self.fields if not has(record, name) and (answered or name not in self.answers)]


#: The forms in the order in which they are tried; the more specific ones come first.
FORMS: list[Form] = []


def register(form: Form) -> None:
    """Make a form known. It is tried before all that were known until then."""
    FORMS.insert(0, form)


def has(record: Any, path: str) -> bool:
    """Whether a record has a field; dots lead into nested ones."""
    head, _, rest = path.partition(".")
    if not isinstance(record, Mapping) or head not in record:
        return False
    return has(record[head], rest) if rest else True
