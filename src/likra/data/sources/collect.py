"""From located records to a source: each record read in its form, answers decided, ids made unique, questions split."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from likra.data.canonical import canonical
from likra.data.forms import MEANINGS, Form, Open, Record, Unusable, identity_of, recognise
from likra.data.forms.form import SAME_CHOICES
from likra.data.question import Example, Question
from likra.data.sources.files import Located
from likra.data.sources.source import SPLITS, Source
from likra.data.sources.splits import hash_split
from likra.errors import InputError

logger = logging.getLogger(__name__)


def collect(name: str, records: Iterable[Located], form: Form | None = None) -> Source:
    """The source that some records make.

    Args:
        name: Its name.
        records: The records, each with its place.
        form: What they are; None: what their fields tell.

    Raises:
        InputError: A record is of no known form or breaks its form's rules, two records are of different forms, or
            nothing can be used.
    """
    source, found, unpaired = _read(name, records, form)
    if unpaired:
        splits, examples = [split for split, _ in unpaired], [example for _, example in unpaired]
        source.examples, source.hashed = _parts(examples, splits), not any(splits)
        if source.hashed and "train" not in source.examples:  # one instruction for all records, say
            source.examples = {"train": examples}
        return source
    if not found:
        raise InputError(f"{name}: none of its records can be used: {'; '.join(source.skipped)}.")
    questions = _identified(name, _decided(found))
    splits = [split for _, split, _ in found]
    source.questions = _parts(questions, splits)
    source.hashed = not any(splits)
    return source


_Item = TypeVar("_Item", Question, Example)


def _parts(items: Sequence[_Item], splits: Sequence[str | None]) -> dict[str, list[_Item]]:
    """The items by their splits. What is asked decides where none is given, so that records of one question or prompt
    stay together."""
    sides = {item.asked: split for item, split in zip(items, splits, strict=True) if split}
    parts: dict[str, list[_Item]] = {split: [] for split in SPLITS}
    for item, split in zip(items, splits, strict=True):
        parts[split or sides.get(item.asked) or hash_split(item.asked)].append(item)
    return {split: part for split, part in parts.items() if part}


#: Where a record stands, its split if that is known, and what was read from it.
_Found = tuple[str, str | None, Question | Open]


def _read(
    name: str, records: Iterable[Located], given: Form | None
) -> tuple[Source, list[_Found], list[tuple[str | None, Example]]]:
    """A source without questions yet, and the questions as they were read; of unpaired data the examples."""
    forms: dict[frozenset[str], Form] = {}
    source: Source | None = None
    found: list[_Found] = []
    unpaired: list[tuple[str | None, Example]] = []
    for where, split, record in records:
        keys = frozenset(record)
        form = given or forms.get(keys)
        if form is None or not form.fits(record):
            form = forms[keys] = recognise(record, where)
        if source is None:
            source = Source(name, form.name, form.style)
        if form.name != source.form:
            raise InputError(f"{where}: is of the form {form.name}, but the records before it are {source.form}.")
        for item in _items(form, record, where):
            if isinstance(item, Unusable):
                source.skipped[str(item)] = source.skipped.get(str(item), 0) + 1
            elif isinstance(item, Example):
                unpaired.append((split, replace(item, where=where)))
            else:
                found.append((where, split, item))
    if source is None:
        raise InputError(f"{name}: holds no records; nothing can be learned from it.")
    return source, found, unpaired


def _items(form: Form, record: Record, where: str) -> list[Question | Open | Example | Unusable]:
    """What a record holds, as its form reads it; errors name the record."""
    try:
        with naming(where, form):
            read = form.read(record)
            items: list[Question | Open | Example | Unusable] = [*read] if isinstance(read, list) else [read]
            for item in items:
                if not isinstance(item, Unusable):
                    _check(item.question if isinstance(item, Open) else item)
    except Unusable as error:
        return [error]
    return items


@contextlib.contextmanager
def naming(where: str, form: Form) -> Iterator[None]:
    """Turn what goes wrong in the block, as a record is read in its form, into an InputError that names the record."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: holds half a character (a lone surrogate), not text; fix it.") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{where}: its fields are not as the form {form.name} has them ({type(error).__name__}: {error})."
        ) from None


def _decided(found: Sequence[_Found]) -> list[Question]:
    """The questions, with open answers read in the one way that all answers of their file, or of all files, admit."""
    ways: dict[str, set[str]] = {}
    for where, _, item in found:
        if isinstance(item, Open):
            ways.setdefault(_file_of(where), set(item.places)).intersection_update(item.places)
    shared = set.intersection(*ways.values()) if ways else set()
    questions = []
    for where, _, item in found:
        if isinstance(item, Question):
            questions.append(replace(item, where=where))
            continue
        file = _file_of(where)
        if not ways[file]:
            raise _mixed([(place, other) for place, _, other in found if _file_of(place) == file])
        meant = {meaning: item.places[meaning] for meaning in MEANINGS if meaning in (shared or ways[file])}
        if len(set(meant.values())) > 1:
            (one, first), (_, second), *_ = {place: (meaning, place) for meaning, place in meant.items()}.values()
            way = "add a field 'labels' that names the choices, or in JSON give the index as a number"
            if item.field != "answer":
                way = "give a list 'choices', and the index from 0 as 'answer'"
            raise InputError(
                f"{where}: field {item.field!r} is {item.answer!r}, which is {MEANINGS[one]} {first} but could mean "
                f"choice {second} too, and no other record tells which; {way}."
            )
        questions.append(replace(item.question, answer=next(iter(meant.values())), where=where))
    return questions


def _file_of(where: str) -> str:
    return where.rpartition(", ")[0]


def _mixed(found: Iterable[tuple[str, Question | Open]]) -> InputError:
    """The error for a file whose answers are not all written in one way."""
    answers = [(where, item) for where, item in found if isinstance(item, Open)]
    [(usual, _)] = Counter(meaning for _, item in answers for meaning in item.places).most_common(1)
    where, odd = next((where, item) for where, item in answers if usual not in item.places)
    [(meaning, place), *_] = odd.places.items()
    return InputError(
        f"{where}: field {odd.field!r} is {odd.answer!r}, {MEANINGS[meaning]} {place}, but elsewhere in the file it is "
        f"{MEANINGS[usual].removesuffix(' of choice')}; write all answers of a file in one way."
    )


def _identified(name: str, questions: list[Question]) -> list[Question]:
    """The questions, with another id for those that share theirs with a question that differs from them."""
    of_id: dict[str, Question] = {}
    shared = {question.id for question in questions if of_id.setdefault(question.id, question) != question}
    if not shared:
        return questions
    told: dict[tuple[str, tuple[str, ...]], int | None] = {}
    contradicting = [q for q in questions if told.setdefault((q.text, q.choices), q.answer) != q.answer]
    if contradicting:
        logger.warning(
            "%s: %d of %d records contradict another one: the same question and choices, and another answer (%s).",
            name,
            len(contradicting),
            len(questions),
            ", ".join(question.name for question in contradicting[:3]),
        )
    twice = shared - {question.id for question in contradicting}
    if twice:
        logger.warning(
            "%s: %d of %d records have an id that another record has too (%s); they are told apart by their content.",
            name,
            sum(question.id in twice for question in questions),
            len(questions),
            ", ".join(map(repr, sorted(twice)[:3])),
        )
    return [
        replace(question, id=identity_of(question.id, question.text, *question.choices, str(question.answer)))
        if question.id in shared
        else question
        for question in questions
    ]


def check_text(item: Question | Example) -> None:
    """Raise UnicodeEncodeError if JSON's escapes made something that is not text."""
    texts = (
        (item.id, item.transcript, *item.choices) if isinstance(item, Question) else (str(item.prompt), item.completion)
    )
    "".join(texts).encode()


def _check(item: Question | Example) -> None:
    """Raise UnicodeEncodeError if JSON's escapes made something that is not text, Unusable if all choices are one."""
    check_text(item)
    if isinstance(item, Question) and len(item.choices) > 1 and len(set(map(canonical, item.choices))) == 1:
        raise Unusable(SAME_CHOICES)
