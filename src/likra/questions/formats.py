"""The forms of data that likra knows, each recognised by the fields of its records.

A form turns one record (a dict, as JSON or `datasets` give it) into a `Question`, or into `Example`s where the data is
unpaired. Forms never guess: a record that has the fields of a form but breaks its rules is refused, by file, line and
field.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from likra.errors import InputError
from likra.questions.question import Example, Question

Record = Mapping[str, Any]


class Unusable(Exception):
    """A well-formed record that nothing can be learned from: skipped and counted, not refused. Its text says why."""


_UNANSWERED = "the right answer is not given"  # as in the test splits of some benchmarks


@dataclass(frozen=True)
class Form:
    """One form of data.

    Attributes:
        name: What it is called.
        fields: The fields a record must have, dots for nested ones; shown when a file fits no form.
        style: The prompt style its benchmark uses.
        read: Turns a record into a Question or an Example.
    """

    name: str
    fields: tuple[str, ...]
    style: str
    read: Callable[[Record], Question | Example]

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


def _choices(value: Any, field: str = "choices") -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InputError(f"field {field!r} is {type(value).__name__}, not a list; list the candidate answers.")
    if len(value) < 2:
        count = "no choices" if not value else "only one choice"
        raise InputError(f"field {field!r} has {count}; a question needs at least two.")
    for index, choice in enumerate(value):
        if not isinstance(choice, str) or not choice.strip():
            raise InputError(f"field {field!r}: choice {index} is empty or not text; give it text or remove it.")
    return tuple(value)


def _identity(record: Record, *content: str) -> str:
    for key in ("id", "ind", "qID", "idx"):
        if isinstance(record.get(key), str | int):
            return str(record[key])
    return hashlib.sha256("\x1f".join(content).encode()).hexdigest()[:16]


def _own(record: Record) -> Question:
    question = text(record, "question", empty=True)
    choices = _choices(record["choices"])
    labels, answer = record.get("labels"), record["answer"]
    if answer is None:
        raise Unusable(_UNANSWERED)
    if labels is not None:
        if len(labels) != len(choices):
            raise InputError(f"field 'labels' has {len(labels)} labels for {len(choices)} choices; they must match.")
        index = _label_index([str(label) for label in labels], str(answer), "answer")
    elif isinstance(answer, int) and not isinstance(answer, bool):
        index = answer
    elif isinstance(answer, str) and (answer in choices or _place(answer) is not None):
        index = _text_or_place(answer, choices)
    else:
        raise InputError(
            f"field 'answer' is {answer!r}, which is no choice; give the index from 0, a letter from A, or its text."
        )
    group = text(record, "group") if record.get("group") not in (None, "") else None
    index = _in_range(index, choices, answer)
    return Question(_identity(record, question, *choices), question, choices, index, group)


def _right_only(record: Record) -> Question:
    question, answer = text(record, "question"), text(record, "answer")
    return Question(_identity(record, question, answer), question, (answer,), 0)


def _prompted(record: Record) -> Question:
    prompt, completion = text(record, "prompt"), text(record, "completion")
    return Question(_identity(record, prompt, completion), prompt, (completion,), 0)


def _place(answer: str) -> int | None:
    """The index that a letter or a number in text stands for."""
    if re.fullmatch("[A-Za-z]", answer):
        return ord(answer.upper()) - ord("A")
    return int(answer) if answer.isdecimal() else None


def _text_or_place(answer: str, choices: tuple[str, ...]) -> int:
    place = _place(answer)
    if answer not in choices:
        assert place is not None
        return place
    index = choices.index(answer)
    if place is not None and place < len(choices) and place != index:
        raise InputError(
            f"field 'answer' is {answer!r}, which is the text of choice {index} but could mean choice {place} too; add "
            "a field 'labels' that names the choices, or in JSON give the index as a number."
        )
    return index


def _in_range(index: int, choices: tuple[str, ...], answer: Any, field: str = "answer") -> int:
    if not 0 <= index < len(choices):
        raise InputError(
            f"field {field!r} is {answer!r}, out of range for {len(choices)} choices; count from 0 (or from A)."
        )
    return index


def _label_index(labels: list[str], key: str, field: str) -> int:
    if key not in labels:
        raise InputError(f"field {field!r} is {key!r}, not among the labels {', '.join(labels)}; correct one of them.")
    return labels.index(key)


def _arc_official(record: Record) -> Question:
    options = record["question"]["choices"]
    if not isinstance(options, list) or not all(_has(option, "text") and _has(option, "label") for option in options):
        raise InputError("field 'question.choices' is not a list of {text, label}; see the ARC form.")
    choices = _choices([option["text"] for option in options], "question.choices")
    return _arc(record, text(record["question"], "stem"), choices, [str(option["label"]) for option in options])


def _arc_hub(record: Record) -> Question:
    choices = _choices(record["choices"]["text"], "choices.text")
    return _arc(record, text(record, "question"), choices, [str(label) for label in record["choices"]["label"]])


def _arc(record: Record, stem: str, choices: tuple[str, ...], labels: list[str]) -> Question:
    if not record["answerKey"]:
        raise Unusable(_UNANSWERED)
    if len(labels) != len(choices):
        raise InputError(f"field 'choices' has {len(labels)} labels for {len(choices)} choices; they must match.")
    index = _label_index(labels, str(record["answerKey"]), "answerKey")
    return Question(_identity(record, stem, *choices), stem, choices, index)


def _hellaswag_text(raw: str) -> str:
    # As lm-evaluation-harness cleans it (tasks/hellaswag/utils.py): brackets are artefacts of the WikiHow part.
    raw = raw.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", raw).replace("  ", " ")


def _hellaswag(record: Record) -> Question:
    label = record["label"]
    if label in ("", None):
        raise Unusable(_UNANSWERED)
    context = f"{text(record, 'ctx_a', empty=True)} {text(record, 'ctx_b', empty=True).capitalize()}"
    query = _hellaswag_text(f"{text(record, 'activity_label')}: {context}")
    choices = tuple(_hellaswag_text(ending) for ending in _choices(record["endings"], "endings"))
    if not str(label).isdecimal():
        raise InputError(f"field 'label' is {label!r}; give the index of the right ending from 0.")
    # 'ind' is not unique in HellaSwag's files, so the text identifies the question.
    return Question(_identity({}, query, *choices), query, choices, _in_range(int(label), choices, label, "label"))


def _winogrande(record: Record) -> Question:
    sentence = text(record, "sentence")
    if sentence.count("_") != 1:
        raise InputError(f"field 'sentence' has {sentence.count('_')} blanks '_'; it must have exactly one.")
    if record["answer"] in ("", None):
        raise Unusable(_UNANSWERED)
    choices = _choices([record["option1"], record["option2"]], "option1/option2")
    index = _label_index(["1", "2"], str(record["answer"]), "answer")
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
    question = text(record, "question")
    return Question(_identity(record, question, *choices), question, choices, right[0])


def _blimp(record: Record) -> Question:
    good, bad = text(record, "sentence_good"), text(record, "sentence_bad")
    identity = f"{record['UID']}-{record['pairID']}" if "UID" in record and "pairID" in record else None
    return Question(identity or _identity(record, good, bad), "", (good, bad), 0, record.get("UID"))


def _preference(record: Record) -> Question:
    prompt = text(record, "prompt", empty=True)
    chosen, rejected = text(record, "chosen"), text(record, "rejected")
    return Question(_identity(record, prompt, chosen, rejected), prompt, (chosen, rejected), 0)


def _unpaired(record: Record) -> Example:
    label = record["label"]
    if not (isinstance(label, bool) or label in (0, 1)):
        raise InputError(f"field 'label' is {label!r}; give true (a right completion) or false (a wrong one).")
    return Example(text(record, "prompt", empty=True), text(record, "completion"), bool(label))


#: Tried in this order; the more specific forms come first.
FORMS: tuple[Form, ...] = (
    Form("official ARC", ("question.stem", "question.choices", "answerKey"), "qa", _arc_official),
    Form("hub ARC", ("question", "choices.text", "choices.label", "answerKey"), "qa", _arc_hub),
    Form("HellaSwag", ("activity_label", "ctx_a", "ctx_b", "endings", "label"), "plain", _hellaswag),
    Form("WinoGrande", ("sentence", "option1", "option2", "answer"), "cloze", _winogrande),
    Form("TruthfulQA", ("question", "mc1_targets"), "truthfulqa", _truthfulqa),
    Form("BLiMP", ("sentence_good", "sentence_bad"), "empty", _blimp),
    Form("preference pairs", ("prompt", "chosen", "rejected"), "verbatim", _preference),
    Form("unpaired preference", ("prompt", "completion", "label"), "verbatim", _unpaired),
    Form("likra", ("question", "choices", "answer"), "qa", _own),
    Form("right answers only", ("question", "answer"), "qa", _right_only),
    Form("right completions only", ("prompt", "completion"), "verbatim", _prompted),
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
    known = "; ".join(f"{form.name} ({', '.join(form.fields)})" for form in FORMS)
    raise InputError(
        f"{where}: of no known form. It has the fields {', '.join(record)}.{nearest} Known forms: {known}."
    )
