"""The forms of data that likra knows, each recognised by the fields of its records.

A form turns one record (a dict, as JSON or `datasets` give it) into a `Question`, or into `Example`s where the data is
unpaired. Forms never guess: a record that has the fields of a form but breaks its rules is refused, by file, line and
field. Nor do they drop what belongs to a question: a field that looks like choices, or like a passage that is asked
about, is read or refused.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from likra.errors import InputError
from likra.questions.equal import canonical
from likra.questions.question import Example, Question

Record = Mapping[str, Any]


class Unusable(Exception):
    """A well-formed record that nothing can be learned from: skipped and counted, not refused. Its text says why."""


_UNANSWERED = "the right answer is not given"  # as in the test splits of some benchmarks


@dataclass(frozen=True)
class Open:
    """A question whose answer is written in a way that can mean several things; all records of the file decide.

    Attributes:
        question: The question, without its answer.
        field: The field of the answer.
        answer: What stands there.
        places: What it can mean (one of `MEANINGS`) -> index of the choice that it then names; at least one.
    """

    question: Question
    field: str
    answer: Any
    places: Mapping[str, int]


#: What an answer can be, in the words of messages.
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
        name: What it is called.
        fields: The fields a record must have, dots for nested ones; shown when a file fits no form.
        style: The prompt style its benchmark uses.
        read: Turns a record into a Question, one whose answer is still open, or an Example.
    """

    name: str
    fields: tuple[str, ...]
    style: str
    read: Callable[[Record], Question | Open | Example]

    def fits(self, record: Record) -> bool:
        return all(_has(record, field) for field in self.fields)


def _has(record: Any, path: str) -> bool:
    head, _, rest = path.partition(".")
    if not isinstance(record, Mapping) or head not in record:
        return False
    return _has(record[head], rest) if rest else True


def text(record: Record, field: str, *, empty: bool = False) -> str:
    """A text field, or InputError."""
    value = record[field]
    if not isinstance(value, str):
        raise InputError(f"field {field!r} is {type(value).__name__}, not text.{_chat_hint(value)}")
    if not empty and not value.strip():
        raise InputError(f"field {field!r} is empty; give it text or remove the record.")
    return value


def _chat_hint(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "role" in value[0]:
        return " Render conversations to text first (tokenizer.apply_chat_template)."
    return " Give it text."


#: Fields that hold something a question is about, so that the question alone is not what is asked.
_PASSAGE = frozenset(
    "abstract article audio background body code content context conversation ctx description dialog dialogue document "
    "evidence excerpt facts figure hint history image input instruction lecture messages narrative paragraph passage "
    "picture premise reading scenario situation stimulus story support system table text transcript video".split()
)
#: Words at the end of a field's name by which it says something of a passage, and is none.
_OF_PASSAGE = frozenset(
    "id ids idx index hash url link type kind name title source lang language length len tokens count".split()
)
#: Fields that say where a record is from or what it is about, and nothing of its answer.
_ABOUT = frozenset(
    "id idx ind index qid uuid hash key split fold group category subject subcategory topic domain area source origin "
    "dataset task type kind name title url link lang language locale country difficulty level year month day date time "
    "timestamp created updated author user annotator worker model version license tag tags note notes comment "
    "explanation rationale reasoning length len tokens count number no nr row line page chapter".split()
)
#: What a field holds, or is called, that may tell right answers from wrong ones.
_VERDICTS = frozenset(
    "right wrong correct incorrect true false yes no good bad up down positive negative pass passed fail failed "
    "accepted rejected valid invalid thumbs_up thumbs_down thumbs-up thumbs-down".split()
)
_VERDICT_NAMES = frozenset("score reward rating grade vote votes feedback quality verdict correctness".split())
#: Fields that hold candidate answers, name one of them, or say whether the answer is right; without "_" and the like.
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
def _looks_like_choices(name: str) -> bool:
    return bool(_CHOICES.fullmatch(re.sub("[^a-z0-9]", "", name.lower())))


@lru_cache(maxsize=4096)
def _looks_like_passage(name: str) -> bool:
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


def matters(name: str) -> bool:
    """Whether a field of this name is read, or looked at before a record is taken for what it seems to be."""
    return name in _KNOWN or _looks_like_choices(name) or _looks_like_passage(name)


def _asked(record: Record, field: str, *, empty: bool = False) -> str:
    """The text of what is asked, or InputError if more than that is asked."""
    for name, value in record.items():
        if name != field and _looks_like_passage(name) and value and _given(value):
            raise InputError(
                f"field {name!r} belongs to what is asked, but only {field!r} is read; write both into {field!r}, or "
                f"remove {name!r} to ask without it."
            )
    return text(record, field, empty=empty)


def _alone(record: Record, field: str) -> str:
    """The answer of a record without choices, or InputError where a field looks like choices."""
    answer = record[field]
    names = {name.lower() for name in record}
    in_row = {name for row in _ROWS for name in row if names.issuperset(row)}
    lettered = isinstance(answer, str) and _letter(answer.strip()) is not None
    for name, value in record.items():
        if name in ("question", "prompt", "answer", field) or not _given(value):
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
            or _looks_like_choices(name)
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


def _choices(value: Any, field: str = "choices") -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InputError(f"field {field!r} is {type(value).__name__}, not a list; list the candidate answers.")
    if len(value) < 2:
        count = "no choices" if not value else "only one choice"
        raise InputError(f"field {field!r} has {count}; a question needs at least two.")
    for index, choice in enumerate(value):
        if isinstance(choice, int | float):
            raise InputError(f"field {field!r}: choice {index} is the number {choice}; write it as text.")
        if not isinstance(choice, str) or not canonical(choice):
            raise InputError(f"field {field!r}: choice {index} is empty or not text; give it text or remove it.")
    return tuple(value)


def _labels(value: Any, choices: Sequence[str], field: str = "labels") -> list[str]:
    if not isinstance(value, list):
        raise InputError(f"field {field!r} is {type(value).__name__}, not a list; list one label for each choice.")
    if len(value) != len(choices):
        raise InputError(f"field {field!r} has {len(value)} labels for {len(choices)} choices; they must match.")
    labels = [str(label).strip() for label in value]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"field {field!r} has the label {twice!r} twice; each must name one choice.")
    return labels


def _listed(value: Any, field: str) -> tuple[tuple[str, ...], list[str] | None]:
    """Choices, and their labels if they have some: a list of texts or of {text, label}, or one object of these."""
    if isinstance(value, list) and value and all(_has(item, "text") and _has(item, "label") for item in value):
        value = {"text": [item["text"] for item in value], "label": [item["label"] for item in value]}
    if isinstance(value, Mapping) and set(value) == {"text", "label"}:
        choices = _choices(value["text"], f"{field}.text")
        return choices, _labels(value["label"], choices, f"{field}.label")
    if isinstance(value, Mapping):
        # Where labels are columns, as in Parquet, a question with fewer choices has empty ones.
        given = {label: choice for label, choice in value.items() if choice is not None}
        return _choices(list(given.values()), field), list(given)
    return _choices(value, field), None


def _identity(record: Record, *content: str) -> str:
    for key in ("id", "ind", "qID", "idx"):
        value = record.get(key)
        if isinstance(value, float) and value % 1 == 0:  # as pandas writes numbers where one is missing
            value = int(value)
        # A blank id is none.
        if isinstance(value, str | int) and not isinstance(value, bool) and canonical(str(value)):
            return str(value)
    return identity_of(*content)


def identity_of(*content: str) -> str:
    """What identifies a record that has no id of its own."""
    return hashlib.sha256("\x1f".join(content).encode()).hexdigest()[:16]


def _own(record: Record) -> Question | Open:
    return _of_list(record, "choices")


def _options(record: Record) -> Question | Open:
    return _of_list(record, "options")


def _of_list(record: Record, field: str) -> Question | Open:
    question = _asked(record, "question", empty=True)
    choices, labels = _listed(record[field], field)
    only_labels = record.get("labels") is not None
    if only_labels:
        labels = _labels(record["labels"], choices)
    group = text(record, "group") if record.get("group") not in (None, "") else None
    asked = Question(_identity(record, question, *choices), question, choices, group=group)
    return _answered(asked, record["answer"], labels, only_labels)


def _lettered(record: Record) -> Question | Open:
    question = _asked(record, "question")
    labels = [letter for letter in "ABCDEFGHIJ" if record.get(letter) not in (None, "")]
    choices = _choices([record[letter] for letter in labels], "A, B, ...")
    return _answered(Question(_identity(record, question, *choices), question, choices), record["answer"], labels)


def _medmcqa(record: Record) -> Question | Open:
    question = _asked(record, "question")
    choices = _choices([record[field] for field in ("opa", "opb", "opc", "opd")], "opa, ..., opd")
    asked = Question(_identity(record, question, *choices), question, choices)
    place = _number(record["cop"])
    if not _given(record["cop"]) or place == -1:  # as its test split has it
        raise Unusable(_UNANSWERED)
    # Its own files count from 1, those on the hub from 0.
    ways = {} if place is None else {"index": place, "number": place - 1}
    return _open(asked, "cop", record["cop"], ways)


def _sciq(record: Record) -> Question:
    question = _asked(record, "question")
    choices = _choices([record[f] for f in ("correct_answer", "distractor1", "distractor2", "distractor3")], "choices")
    return Question(_identity(record, question, *choices), question, choices, 0)


def _right_only(record: Record) -> Question:
    answer = _alone(record, "answer")
    question = _asked(record, "question")
    return Question(_identity(record, question, answer), question, (answer,), 0)


def _prompted(record: Record) -> Question:
    completion = _alone(record, "completion")
    prompt = _asked(record, "prompt")
    return Question(_identity(record, prompt, completion), prompt, (completion,), 0)


def _given(answer: Any) -> bool:
    """Whether there is an answer; NaN is how pandas writes that there is none."""
    return answer is not None and not (isinstance(answer, str) and not answer.strip()) and answer == answer


_WHOLE = re.compile(r"[0-9]{1,9}(\.0+)?")


def _number(value: Any) -> int | None:
    """A whole number, be it written as one, as a float (as pandas does where one is missing), or in text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(float(value)) if _WHOLE.fullmatch(value) else None
    return int(value) if isinstance(value, int | float | Decimal) and value % 1 == 0 else None


def _letter(answer: str) -> int | None:
    return ord(answer.upper()) - ord("A") if len(answer) == 1 and answer.isascii() and answer.isalpha() else None


def _text_place(choices: tuple[str, ...], answer: str) -> int | None:
    if answer in choices:
        return choices.index(answer)
    same = canonical(answer)
    return next((place for place, choice in enumerate(choices) if canonical(choice) == same), None)


def _answered(asked: Question, answer: Any, labels: list[str] | None, only_labels: bool = False) -> Question | Open:
    """A question with what its field `answer` can mean."""
    if not _given(answer):
        raise Unusable(_UNANSWERED)
    if only_labels and labels is not None:
        return _with(asked, _label_index(labels, answer, "answer"))
    answer = answer.strip() if isinstance(answer, str) and answer not in asked.choices else answer
    number, choices = _number(answer), asked.choices
    counted = not any(_number(label) is not None for label in labels or ())  # else a number is a label
    if number is not None and not isinstance(answer, str) and counted:
        return _with(asked, _in_range(number, choices, answer))
    ways = {"label": _label_place(labels, answer) if labels else None}
    if isinstance(answer, str):
        ways["text"] = _text_place(choices, answer)
        ways["letter"] = _letter(answer) if labels is None else None
        ways["index"] = number if counted else None
    return _open(asked, "answer", answer, ways)


def _open(asked: Question, field: str, answer: Any, ways: Mapping[str, int | None]) -> Open:
    meant = {meaning: place for meaning, place in ways.items() if place is not None}
    places = {meaning: place for meaning, place in meant.items() if 0 <= place < len(asked.choices)}
    if meant and not places:
        _in_range(next(iter(meant.values())), asked.choices, answer, field)
    if not places:
        raise InputError(
            f"field {field!r} is {answer!r}, which is no choice; give the index from 0, a letter from A, or its text."
        )
    return Open(asked, field, answer, places)


def _with(asked: Question, index: int) -> Question:
    return Question(asked.id, asked.text, asked.choices, index, asked.group)


def _in_range(index: int, choices: tuple[str, ...], answer: Any, field: str = "answer") -> int:
    if not 0 <= index < len(choices):
        raise InputError(
            f"field {field!r} is {answer!r}, out of range for {len(choices)} choices; count from 0 (or from A), not "
            "from 1."
        )
    return index


def _label_place(labels: list[str], key: Any) -> int | None:
    number = _number(key)  # 1.0 for 1
    names = (str(key).strip(), *([] if number is None else [str(number)]))
    return next((labels.index(name) for name in names if name in labels), None)


def _label_index(labels: list[str], key: Any, field: str) -> int:
    place = _label_place(labels, key)
    if place is None:
        raise InputError(
            f"field {field!r} is {str(key)!r}, not among the labels {', '.join(labels)}; correct one of them."
        )
    return place


def _arc_official(record: Record) -> Question:
    options = record["question"]["choices"]
    if not isinstance(options, list) or not all(_has(option, "text") and _has(option, "label") for option in options):
        raise InputError("field 'question.choices' is not a list of {text, label}; see the ARC form.")
    choices = _choices([option["text"] for option in options], "question.choices")
    return _arc(record, text(record["question"], "stem"), choices, [option["label"] for option in options])


def _arc_hub(record: Record) -> Question:
    choices = _choices(record["choices"]["text"], "choices.text")
    return _arc(record, _asked(record, "question"), choices, record["choices"]["label"])


def _openbookqa(record: Record) -> Question:
    choices = _choices(record["choices"]["text"], "choices.text")
    return _arc(record, _asked(record, "question_stem"), choices, record["choices"]["label"])


def _arc(record: Record, stem: str, choices: tuple[str, ...], labels: Any) -> Question:
    if not _given(record["answerKey"]):
        raise Unusable(_UNANSWERED)
    index = _label_index(_labels(labels, choices, "choices"), record["answerKey"], "answerKey")
    return Question(_identity(record, stem, *choices), stem, choices, index)


def _hellaswag_text(raw: str) -> str:
    # As lm-evaluation-harness cleans it (tasks/hellaswag/utils.py): brackets are artefacts of the WikiHow part.
    raw = raw.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", raw).replace("  ", " ")


def _hellaswag(record: Record) -> Question:
    label = record["label"]
    if not _given(label):
        raise Unusable(_UNANSWERED)
    context = f"{text(record, 'ctx_a', empty=True)} {text(record, 'ctx_b', empty=True).capitalize()}"
    query = _hellaswag_text(f"{text(record, 'activity_label')}: {context}")
    choices = tuple(_hellaswag_text(ending) for ending in _choices(record["endings"], "endings"))
    index = _number(label)
    if index is None:
        raise InputError(f"field 'label' is {label!r}; give the index of the right ending from 0.")
    # 'ind' is not unique in HellaSwag's files, so the text identifies the question.
    return Question(_identity({}, query, *choices), query, choices, _in_range(index, choices, label, "label"))


def _winogrande(record: Record) -> Question:
    sentence = text(record, "sentence")
    if sentence.count("_") != 1:
        raise InputError(f"field 'sentence' has {sentence.count('_')} blanks '_'; it must have exactly one.")
    if not _given(record["answer"]):
        raise Unusable(_UNANSWERED)
    choices = _choices([record["option1"], record["option2"]], "option1/option2")
    index = _label_index(["1", "2"], record["answer"], "answer")
    return Question(_identity(record, sentence, *choices), sentence, choices, index)


def _truthfulqa(record: Record) -> Question:
    targets = record["mc1_targets"]
    if _has(targets, "choices") and _has(targets, "labels"):  # as the hub has it
        pairs = list(zip(targets["choices"], targets["labels"], strict=True))
    else:  # as mc_task.json has it
        pairs = list(targets.items())
    choices = _choices([choice for choice, _ in pairs], "mc1_targets")
    right = [index for index, (_, label) in enumerate(pairs) if label == 1]
    if len(right) != 1:
        raise InputError(f"field 'mc1_targets' has {len(right)} right answers; it must have exactly one.")
    question = _asked(record, "question")
    return Question(_identity(record, question, *choices), question, choices, right[0])


def _blimp(record: Record) -> Question:
    good, bad = text(record, "sentence_good"), text(record, "sentence_bad")
    identity = f"{record['UID']}-{record['pairID']}" if "UID" in record and "pairID" in record else None
    return Question(identity or _identity(record, good, bad), "", (good, bad), 0, record.get("UID"))


def _preference(record: Record) -> Question:
    prompt = _asked(record, "prompt", empty=True)
    chosen, rejected = text(record, "chosen"), text(record, "rejected")
    return Question(_identity(record, prompt, chosen, rejected), prompt, (chosen, rejected), 0)


def _unpaired(record: Record) -> Example:
    label = record["label"]
    if not (isinstance(label, bool) or label in (0, 1)):
        raise InputError(f"field 'label' is {label!r}; give true (a right completion) or false (a wrong one).")
    return Example(_asked(record, "prompt", empty=True), text(record, "completion"), bool(label))


#: Tried in this order; the more specific forms come first.
FORMS: tuple[Form, ...] = (
    Form("official ARC", ("question.stem", "question.choices", "answerKey"), "qa", _arc_official),
    Form("hub ARC", ("question", "choices.text", "choices.label", "answerKey"), "qa", _arc_hub),
    Form("OpenBookQA", ("question_stem", "choices.text", "choices.label", "answerKey"), "qa", _openbookqa),
    Form("HellaSwag", ("activity_label", "ctx_a", "ctx_b", "endings", "label"), "plain", _hellaswag),
    Form("WinoGrande", ("sentence", "option1", "option2", "answer"), "cloze", _winogrande),
    Form("TruthfulQA", ("question", "mc1_targets"), "truthfulqa", _truthfulqa),
    Form("BLiMP", ("sentence_good", "sentence_bad"), "empty", _blimp),
    Form("preference pairs", ("prompt", "chosen", "rejected"), "verbatim", _preference),
    Form("unpaired preference", ("prompt", "completion", "label"), "verbatim", _unpaired),
    Form("likra", ("question", "choices", "answer"), "qa", _own),
    Form("options", ("question", "options", "answer"), "qa", _options),
    Form("lettered columns", ("question", "A", "B", "answer"), "qa", _lettered),
    Form("MedMCQA", ("question", "opa", "opb", "opc", "opd", "cop"), "qa", _medmcqa),
    Form("SciQ", ("question", "correct_answer", "distractor1", "distractor2", "distractor3"), "qa", _sciq),
    Form("right answers only", ("question", "answer"), "qa", _right_only),
    Form("right completions only", ("prompt", "completion"), "verbatim", _prompted),
)


#: Fields that are read: of forms, and those that say more of a record.
_KNOWN = {field.partition(".")[0] for form in FORMS for field in form.fields}
_KNOWN |= {"id", "ind", "qID", "idx", "UID", "pairID", "labels", "group", "split", *"CDEFGHIJ"}


def count_known(names: Sequence[str]) -> int:
    """How many of some names are fields that likra reads, in any case (single letters are data as well)."""
    known = {name.lower() for name in _KNOWN if len(name) > 1}
    return sum(name.strip().lower() in known for name in names)


_CONVERSATION = (
    "Render conversations to text first (tokenizer.apply_chat_template), the last reply as 'completion' and what comes "
    "before it as 'prompt'."
)
#: Data of other trainers that says too little, told by its fields: what to do with it.
_HINTS = (
    (
        ("chosen", "rejected"),
        "Add a field 'prompt' with what chosen and rejected begin with, and leave that out of them.",
    ),
    (("messages",), _CONVERSATION),
    (("conversations",), _CONVERSATION),
    (("text",), "Divide the text into 'prompt' and 'completion'; a head learns answers, not running text."),
)


def recognise(record: Record, where: str) -> Form:
    """The form of a record, or InputError naming the fields it has and the forms there are."""
    for form in FORMS:
        if form.fits(record):
            return form
    lacking = {form: [field for field in form.fields if not _has(record, field)] for form in FORMS}
    near, missing = min(lacking.items(), key=lambda item: len(item[1]) / len(item[0].fields))
    nearest = (
        f" To be of the form {near.name} it lacks {', '.join(missing)}." if len(missing) < len(near.fields) else ""
    )
    hint = next((f" {hint}" for fields, hint in _HINTS if all(field in record for field in fields)), nearest)
    known = "; ".join(f"{form.name} ({', '.join(form.fields)})" for form in FORMS)
    raise InputError(f"{where}: of no known form. It has the fields {', '.join(record)}.{hint} Known forms: {known}.")
