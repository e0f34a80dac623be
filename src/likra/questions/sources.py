"""Where questions come from: `load(SOURCE)` for a benchmark's name, `hf:owner/name`, a file or a folder."""

import codecs
import csv
import difflib
import hashlib
import io
import json
import logging
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from likra.builtin import WORLD, WORLD_SOURCES
from likra.errors import InputError
from likra.questions.equal import canonical
from likra.questions.formats import (
    MEANINGS,
    Form,
    Open,
    Record,
    Unusable,
    count_known,
    identity_of,
    matters,
    recognise,
)
from likra.questions.question import Example, Question

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
TEST_SHARE = 0.1

#: Benchmarks on the hub: name -> the (repository, configuration) pairs that make it up.
HUB: dict[str, tuple[tuple[str, str | None], ...]] = {
    "arc-challenge": (("allenai/ai2_arc", "ARC-Challenge"),),
    "arc-easy": (("allenai/ai2_arc", "ARC-Easy"),),
    "arc-paper": (("allenai/ai2_arc", "ARC-Challenge"), ("allenai/ai2_arc", "ARC-Easy")),
    "hellaswag": (("Rowan/hellaswag", None),),
    "winogrande": (("allenai/winogrande", "winogrande_xl"),),
    "truthfulqa": (("truthfulqa/truthful_qa", "multiple_choice"),),
    "blimp": (("nyu-mll/blimp", "*"),),
}

_SPLIT_NAMES = {"train": "train", "dev": "validation", "val": "validation", "valid": "validation"}
_SPLIT_NAMES |= {"validation": "validation", "test": "test"}


@dataclass
class Source:
    """The questions of one source, by split.

    Attributes:
        name: What the user called it.
        form: Name of the form that was recognised.
        style: Prompt style of that form.
        questions: split -> questions whose right answer is known.
        examples: split -> examples, for unpaired data only (then `questions` is empty).
        skipped: reason -> how many records were left out for it.
    """

    name: str
    form: str
    style: str
    questions: dict[str, list[Question]] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def unpaired(self) -> bool:
        """Whether the data is single completions with a label, with no question to choose in."""
        return bool(self.examples)

    @property
    def default_split(self) -> str:
        """The split that is judged unless another is named: test, or validation where there is no test."""
        return next((split for split in ("test", "validation") if self.questions.get(split)), "test")

    @property
    def right_only(self) -> bool:
        """Whether the data has right answers and no wrong ones."""
        return not self.unpaired and all(len(q.choices) == 1 for split in self.questions.values() for q in split)

    def split(self, name: str | None) -> list[Question]:
        """The questions of one split; `all` for every split; None for test, or validation where there is no test."""
        if self.right_only:
            raise InputError(
                f"{self.name}: has right answers only, so there is nothing to choose from; find wrong ones with "
                "`likra mine`, or name a source whose questions have choices."
            )
        if self.unpaired:
            raise InputError(
                f"{self.name}: unpaired data (prompt, completion, label) has no choices to judge; it can only train. "
                "Name a source whose questions have choices."
            )
        name = name or self.default_split
        if name == "all":
            return [question for split in SPLITS for question in self.questions.get(split, [])]
        if name not in SPLITS:
            raise InputError(f"--split {name}: must be one of {', '.join(SPLITS)} or all.")
        if not self.questions.get(name):
            sizes = ", ".join(f"{split} {len(items)}" for split, items in self.questions.items())
            raise InputError(
                f"{self.name}: has no questions in its {name} split (it has: {sizes}); choose with --split."
            )
        return self.questions[name]


def load(source: str) -> Source:
    """Load the questions of a source.

    Args:
        source: A benchmark's name (`arc-challenge`, ..., see `HUB`), `world`, `hf:owner/name[:configuration]`, or a
            file or folder (JSONL, JSON, CSV, Parquet) whose form is recognised by its fields.

    Raises:
        InputError: The source is missing, of no known form, or has a record that breaks its form's rules.
    """
    found = _load(source)
    known = {question.asked for question in found.questions.get("train", [])}
    for split, questions in found.questions.items():
        repeated = 0 if split == "train" else sum(question.asked in known for question in questions)
        if repeated:
            logger.warning(
                "%s: %d of the %d %s questions are asked in its train split too.",
                source,
                repeated,
                len(questions),
                split,
            )
    return found


def _load(source: str) -> Source:
    path = Path(source)
    named = source in WORLD_SOURCES or source in HUB
    if named and _holds_data(path):
        logger.warning("%s: is read from the folder of that name, not from likra's own source.", source)
        return _collect(source, _folder_records(path))
    if source in WORLD_SOURCES:
        return _collect(source, _file_records(WORLD_SOURCES[source], None))
    if source.partition(":")[0] == "arc-paper":
        return _arc_paper(source)
    if source in HUB:
        return _collect(source, _hub_records(HUB[source]))
    if source.startswith("hf:"):
        repository, _, configuration = source[3:].partition(":")
        return _collect(source, _hub_records(((repository, configuration or None),)))
    if path.is_dir():
        return _collect(source, _folder_records(path))
    if path.is_file():
        return _collect(source, _file_records(path, _split_of(path.stem)))
    meant = difflib.get_close_matches(source, [WORLD, *HUB], 1)
    guess = f" (did you mean {meant[0]}?)" if meant else ""
    raise InputError(
        f"{source}: no such file or folder, and no known source{guess}; the named ones are {', '.join((WORLD, *HUB))}, "
        "and hf:owner/name reads any data set of the hub."
    )


# A located record: where it stands (for messages), the split it belongs to if that is known, and its fields.
_Located = tuple[str, str | None, Record]


def _collect(name: str, records: Iterable[_Located]) -> Source:
    forms: dict[frozenset[str], Form] = {}
    source: Source | None = None
    found: list[tuple[str, str | None, Question | Open]] = []
    for where, split, record in records:
        keys = frozenset(record)
        form = forms.get(keys)
        if form is None or not form.fits(record):
            form = forms[keys] = recognise(record, where)
        if source is None:
            source = Source(name, form.name, form.style)
        if form.name != source.form:
            raise InputError(f"{where}: is of the form {form.name}, but the records before it are {source.form}.")
        try:
            item = form.read(record)
            _check(item.question if isinstance(item, Open) else item)
        except Unusable as error:
            source.skipped[str(error)] = source.skipped.get(str(error), 0) + 1
            continue
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except UnicodeEncodeError:
            raise InputError(
                f"{where}: holds half a character (a lone surrogate), which is no text; mend it."
            ) from None
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                f"{where}: its fields are not as the form {form.name} has them ({type(error).__name__}: {error})."
            ) from None
        if isinstance(item, Example):
            source.examples.setdefault(split or "train", []).append(replace(item, where=where))
        else:
            found.append((where, split, item))
    if source is None:
        raise InputError(f"{name}: holds no records; nothing can be learned or judged from it.")
    if not found and not source.examples:
        raise InputError(f"{name}: none of its records can be used: {'; '.join(source.skipped)}.")
    questions = _identified(name, _decided(found))
    asked = [question.asked for question in questions]
    # What is asked decides the side, so that records of one question stay together.
    sides = {text: split for text, (_, split, _) in zip(asked, found, strict=True) if split}
    parts: dict[str, list[Question]] = {split: [] for split in SPLITS}
    for text, (_, split, _), question in zip(asked, found, questions, strict=True):
        parts[split or sides.get(text) or _hash_split(text)].append(question)
    source.questions = {split: part for split, part in parts.items() if part}
    return source


def _decided(found: Sequence[tuple[str, str | None, Question | Open]]) -> list[Question]:
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
    """What to say of a file whose answers are not all written in one way."""
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


def _check(item: Question | Example) -> None:
    """Raise UnicodeEncodeError if JSON's escapes made something that is no text, Unusable if there is no choice."""
    texts = (item.text, *item.choices) if isinstance(item, Question) else (item.prompt, item.completion)
    "".join(texts).encode()
    if isinstance(item, Question) and len(item.choices) > 1 and len(set(map(canonical, item.choices))) == 1:
        raise Unusable("all of its choices are the same text")  # BLiMP has such pairs


def _hash_split(asked: str) -> str:
    # A stable hash, so that a question stays on its side when others are added or removed.
    fraction = int.from_bytes(hashlib.sha256(asked.encode()).digest()[:8], "big") / 2**64
    return "test" if fraction < TEST_SHARE else "train"


def _split_of(stem: str) -> str | None:
    words = re.split(r"[^a-z]+", stem.lower())
    return next((_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES), None)


def _holds_data(folder: Path) -> bool:
    """Whether a folder is one of questions, rather than of a model or of heads."""
    if not folder.is_dir() or any((folder / name).exists() for name in ("config.json", "likra.json")):
        return False
    return bool(_parts(folder))


def _parts(folder: Path) -> dict[Path, str | None]:
    """The data files of a folder and, where it has one for each split (as MMLU), its folders; with their splits."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and _files(path))
    splits = {path: _split_of(path.name) for path in inner}
    return {path: _split_of(path.stem) for path in _files(folder)} | (splits if any(splits.values()) else {})


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())


def _folder_records(folder: Path) -> Iterator[_Located]:
    splits = _parts(folder)
    if not splits:
        raise InputError(f"{folder}: holds no {', '.join(SUFFIXES)} file.")
    named = sum(split is not None for split in splits.values())
    if named not in (0, len(splits)):
        odd = next(path for path in splits if splits[path] is None)
        raise InputError(
            f"{odd}: names no split, but other files of its folder do; put train, dev or test in its name."
        )
    for path, split in splits.items():
        for file in _files(path) if path.is_dir() else [path]:
            yield from _file_records(file, split)


def _file_records(path: Path, split: str | None) -> Iterator[_Located]:
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InputError(f"{path}: files of type {path.suffix or 'none'} are not read; use {', '.join(SUFFIXES)}.")
    for where, record in readers[suffix](path):
        own = record.get("split") if split is None else None
        if own is not None and (not isinstance(own, str) or own not in _SPLIT_NAMES):
            raise InputError(f"{where}: field 'split' is {own!r}; use one of {', '.join(SPLITS)}.")
        yield where, split or (_SPLIT_NAMES[own] if own is not None else None), record


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        # A spreadsheet's "Unicode text" is UTF-16, and says so by its first two bytes.
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); convert it.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def _jsonl(path: Path) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{where}: malformed JSON ({error.msg} at column {error.colno}); mend it.") from None
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: JSON that cannot be read ({error}); mend it.") from None
            yield where, _object(record, where)


def _json(path: Path) -> Iterator[tuple[str, Record]]:
    try:
        records = json.loads(_text_of(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: malformed JSON ({error.msg} at column {error.colno}); mend it "
            "(or name the file .jsonl if it has one object a line)."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: JSON that cannot be read ({error}); mend it.") from None
    if not isinstance(records, list):
        raise InputError(f"{path}: is a JSON {type(records).__name__}, not a list of objects.")
    for index, record in enumerate(records):
        where = f"{path}, item {index}"
        yield where, _object(record, where)


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: is {type(record).__name__}, not a JSON object with fields.")
    return record


def _csv(path: Path) -> Iterator[tuple[str, Record]]:
    csv.field_size_limit(2**31 - 1)
    text = _text_of(path)
    named = re.match('"?sep=(.)"?\n', text, re.IGNORECASE)  # a spreadsheet's own note
    body = text[named.end() :] if named else text
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=named[1] if named else _delimiter(text))
    try:
        # A spreadsheet writes a blank line as one of empty cells.
        rows = [(f"{path}, line {reader.line_num + bool(named)}", row) for row in reader if any(row)]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + bool(named)}: is no CSV ({error}); mend it.") from None
    if not rows:
        return
    if _is_mmlu(rows[0][1]):
        for where, row in rows:
            if len(row) != len(rows[0][1]):
                raise InputError(f"{where}: has {len(row)} values, but the first line has {len(rows[0][1])}; mend it.")
            question, *choices, answer = row
            labels = [chr(ord("A") + place) for place in range(len(choices))]
            yield where, {"question": question, "choices": choices, "labels": labels, "answer": answer}
        return
    (_, header), *rest = rows
    header = [name.strip() for name in header]
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise InputError(f"{path}: its header has the field {twice!r} twice; name each field once.")
    for where, row in rest:
        if len(row) != len(header):
            raise InputError(
                f"{where}: has more or fewer values than the header has fields ({len(row)}, not {len(header)}); mend "
                "the line, or part the values by commas."
            )
        unpaired = "completion" in header
        yield where, {key: _csv_value(key, value, where, unpaired) for key, value in zip(header, row, strict=True)}


def _delimiter(text: str) -> str:
    """What parts the values of a CSV file: of a comma, and what spreadsheets write for it, what its header shows."""

    head = text[:100_000]  # enough for a first line

    def first(delimiter: str) -> list[str]:
        try:
            return next((row for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if any(row)), [])
        except csv.Error:
            return []

    marks = (",", ";", "\t", "|")
    return max(marks, key=lambda mark: (count_known(first(mark)), _is_mmlu(first(mark))))  # the first of equals


def _is_mmlu(row: Sequence[str]) -> bool:
    """Whether a CSV file's first line is a question, its choices, and a letter, as in MMLU's files, and no header."""
    letters = [chr(ord("A") + place) for place in range(len(row) - 2)]
    return len(letters) > 1 and row[-1] in letters and not count_known(row)


def _csv_value(key: str, value: str, where: str, unpaired: bool) -> Any:
    if key in ("choices", "options", "labels", "endings"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f'{where}: field {key!r} is not a JSON list; in CSV write ["one", "two"].') from None
    if unpaired and key == "label" and value.lower() in ("true", "false", "0", "1"):
        return value.lower() in ("true", "1")
    return value


def _parquet(path: Path) -> Iterator[tuple[str, Record]]:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise ValueError("two of its columns have one name")
    except MemoryError:
        raise
    except Exception as error:  # pyarrow's share no base class, and it passes on those of others
        raise InputError(f"{path}: is not a readable Parquet file ({_first_line(error)}).") from None
    for index, row in enumerate(_rows(str(path), names, lambda name: file.read(columns=[name]).column(name))):
        yield f"{path}, row {index}", row


def _rows(where: str, names: Sequence[str], column: Callable[[str], Any]) -> Iterator[Record]:
    """The rows of pyarrow's columns, without those that cannot be read and need not be."""
    columns: dict[str, list[Any]] = {}
    for name in names:
        row = None
        try:
            values = column(name)
            try:
                columns[name] = values.to_pylist()
            except Exception:
                for row, value in enumerate(values):  # noqa: B007  # where it fails
                    value.as_py()
                raise
        except MemoryError:
            raise
        except Exception as error:  # as above
            if matters(name):
                place = "" if row is None else f", row {row}"
                raise InputError(
                    f"{where}{place}: field {name!r} cannot be read ({type(error).__name__}: {_first_line(error)}); "
                    "mend it."
                ) from None
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _first_line(error: Exception) -> str:
    return textwrap.shorten((str(error).splitlines() or [""])[0], 160)


def _hub_records(parts: Iterable[tuple[str, str | None]]) -> Iterator[_Located]:
    import datasets

    from likra import hub

    if not hub.reachable():
        raise InputError(
            "the Hugging Face hub cannot be reached, and the data set is there. Check the network, pass a local file "
            "or folder, or set HF_HUB_OFFLINE=1 to use what was downloaded before."
        )
    for repository, configuration in parts:
        try:
            names = datasets.get_dataset_config_names(repository) if configuration == "*" else [configuration]
            loaded = [(name, datasets.load_dataset(repository, name)) for name in names]
        except Exception as error:  # datasets, huggingface_hub and pyarrow share no base class for these
            if isinstance(error, MemoryError):
                raise
            reason = textwrap.shorten(str(error), 160)
            raise InputError(
                f"{repository}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {reason}). "
                "Check the name and the network, or pass a local file or folder."
            ) from None
        for name, splits in loaded:
            # A data set that has one split only has no splits of its own; likra makes its own 90/10.
            alone = len(splits) == 1
            known_splits = {split: None if alone else _split_of(split) for split in splits}
            if not alone and not any(known_splits.values()):
                raise InputError(
                    f"{repository}: its splits are {', '.join(splits)}; none is train, validation or test."
                )
            for split, rows in splits.items():
                known = known_splits[split]
                if not alone and known is None:
                    continue
                table = rows.with_format("arrow")[:]
                where = f"{repository} {name or ''} {split}"
                for index, row in enumerate(_rows(where, table.column_names, table.column)):
                    yield f"{where}, row {index}", known, row


def _arc_paper(name: str) -> Source:
    """ARC as the paper splits it: 1,172 test questions of ARC-Challenge; everything else of ARC trains (6,615).

    `arc-paper` loads it from the hub, `arc-paper:FOLDER` from the folders ARC-Challenge and ARC-Easy in FOLDER.
    """
    folder = name.partition(":")[2]
    if folder:
        parts = [Path(folder) / configuration for _, configuration in HUB["arc-paper"] if configuration]
        for part in parts:
            if not part.is_dir():
                raise InputError(f"{name}: there is no folder {part}; arc-paper:FOLDER reads two folders in FOLDER.")
        challenge, easy = (_collect(name, _folder_records(part)) for part in parts)
    else:
        challenge, easy = (_collect(name, _hub_records((part,))) for part in HUB["arc-paper"])
    if "test" not in challenge.questions:
        raise InputError(f"{name}: ARC-Challenge has no test split here, and that is what the paper judges.")
    test = challenge.questions["test"]
    train = [
        question
        for part in (challenge, easy)
        for split, questions in part.questions.items()
        for question in questions
        if not (part is challenge and split == "test")
    ]
    return Source(name, challenge.form, challenge.style, {"train": train, "test": test})


def right_answers(questions: Iterable[Question]) -> list[str]:
    """The right answers of some questions, for negatives that are drawn from them."""
    return [question.choices[question.answer] for question in questions if question.answer is not None]


def answers(source: Source) -> list[str]:
    """The right answers of a source's training questions, for `unrelated` negatives."""
    found = right_answers(source.questions.get("train", []))
    if not found:
        raise InputError(f"{source.name}: has no answered training questions to take unrelated answers from.")
    return found
