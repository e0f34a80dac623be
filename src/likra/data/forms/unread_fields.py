"""Fields beside a question or an answer that may change its meaning: they are read or refused, never dropped."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from likra.data.forms.answers import letter_index
from likra.data.forms.fields import given, text
from likra.data.forms.form import Record
from likra.errors import InputError

#: Words in the names of fields that hold something a question is about, so that the question alone says too little.
_PASSAGE = frozenset(
    "abstract article audio background body code content context conversation ctx description dialog dialogue document "
    "evidence excerpt facts figure hint history image input instruction lecture messages narrative paragraph passage "
    "picture premise reading scenario situation stimulus story support system table text transcript video".split()
)
#: Words at the end of a field's name that says something of a passage but does not hold one.
_OF_PASSAGE = frozenset(
    "id ids idx index hash url link type kind name title source lang language length len tokens count".split()
)
#: Fields that say where a record is from or what it is about, and nothing about its answer.
_ABOUT = frozenset(
    "id idx ind index qid uuid hash key split fold group category subject subcategory topic domain area source origin "
    "dataset task type kind name title url link lang language locale country difficulty level year month day date time "
    "timestamp created updated author user annotator worker model version license tag tags note notes comment "
    "explanation rationale reasoning length len tokens count number no nr row line page chapter".split()
)
#: Values and names of fields that may tell right answers from wrong ones.
_VERDICTS = frozenset(
    "right wrong correct incorrect true false yes no good bad up down positive negative pass passed fail failed "
    "accepted rejected valid invalid thumbs_up thumbs_down thumbs-up thumbs-down".split()
)
_VERDICT_NAMES = frozenset("score reward rating grade vote votes feedback quality verdict correctness".split())
#: Fields that hold candidate answers, name one, or say whether it is right; signs such as "_" do not count.
_CHOICES = re.compile(
    "(mc[0-9]*|multiple|possible|plausible|correct|incorrect|wrong|false|bad|best|all|other|right|candidate)*"
    "(answer|choice|option|opt|candidate|alternative|distractor|ending)s?"
    "([a-j]|[0-9]+|list|texts?|key|index|idx|letter)?"
    "|(is)?(correct|right)|labels?|mc[0-9]+targets|op[a-e]|cop|sol[0-9]"
    "|(hard)?(wrong|incorrect|false|bad|rejected|negative|foil|decoy)s?[0-9]*"
)
#: Columns that are choices where both are there.
_ROWS = (("a", "b"), ("0", "1"), ("1", "2"))


@lru_cache(maxsize=4096)
def looks_like_choices(name: str) -> bool:
    """Whether a field of this name holds candidate answers, names one, or says whether the answer is right."""
    return bool(_CHOICES.fullmatch(re.sub("[^a-z0-9]", "", name.lower())))


@lru_cache(maxsize=4096)
def looks_like_passage(name: str) -> bool:
    """Whether a field of this name holds something that a question is about."""
    words = re.findall("[a-z]+", name.lower())
    return not _PASSAGE.isdisjoint(set(words) | {word.removesuffix("s") for word in words}) and (
        words[-1] not in _OF_PASSAGE
    )


def _tells_right_from_wrong(name: str, value: Any) -> bool:
    """Whether a field beside an answer may say that the answer is wrong."""
    if not _VERDICT_NAMES.isdisjoint(re.findall("[a-z]+", name.lower())):
        return True
    told = isinstance(value, bool | int | float) or (isinstance(value, str) and value.strip().lower() in _VERDICTS)
    return told and not _says_what_about(name)


def _says_what_about(name: str) -> bool:
    return not _ABOUT.isdisjoint(re.findall("[a-z]+", name.lower()))


def question_text(record: Record, field: str, *, empty: bool = False) -> str:
    """The text of the question, or InputError where another field belongs to the question."""
    for name, value in record.items():
        if name != field and looks_like_passage(name) and value and given(value):
            raise InputError(
                f"field {name!r} belongs to what is asked, but only {field!r} is read; write both into {field!r}, or "
                f"remove {name!r} to ask without it."
            )
    return text(record, field, empty=empty)


def lone_answer(record: Record, field: str) -> str:
    """The answer of a record without choices, or InputError where a field looks like choices."""
    answer = record[field]
    names = {name.lower() for name in record}
    in_row = {name for row in _ROWS for name in row if names.issuperset(row)}
    lettered = isinstance(answer, str) and letter_index(answer.strip()) is not None
    for name, value in record.items():
        if name in ("question", "prompt", "answer", field) or not given(value):
            continue
        if isinstance(value, Mapping):
            value = list(value.values())
        texts = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
        listed = len(texts) > 1 and (answer in texts or lettered)
        # One letter as the answer may name what stands in any other field.
        named = lettered and isinstance(value, str) and not _says_what_about(name)
        if (
            listed
            or named
            or name.lower() in in_row
            or looks_like_choices(name)
            or _tells_right_from_wrong(name, value)
        ):
            raise InputError(
                f"field {name!r} looks like choices, or tells right from wrong, so {field!r} may not be a right answer "
                f"by itself; give 'question', 'answer' and a list 'choices', or remove {name!r}."
            )
    if isinstance(answer, bool):
        raise InputError(
            f"field {field!r} is {answer}, and there are no choices; to ask yes or no, add a field 'choices', "
            '["no", "yes"], and give the index of the right one.'
        )
    if isinstance(answer, int | float):
        raise InputError(
            f"field {field!r} is the number {answer}, and there are no choices for it to count; list them in a field "
            "'choices', or, if the number itself is the answer, write it as text."
        )
    return text(record, field)
