"""Preference data: pairs of completions, single ones with a label, and right ones alone."""

from likra.data.forms.fields import given, identity, text
from likra.data.forms.form import SAME_CHOICES, Form, Record, Unusable
from likra.data.forms.unread_fields import lone_answer, question_text
from likra.data.question import Example, Question
from likra.errors import InputError


def _preference(record: Record) -> Question:
    prompt = question_text(record, "prompt", empty=True)
    chosen, rejected = text(record, "chosen"), text(record, "rejected")
    return Question(identity(record, prompt, chosen, rejected), prompt, (chosen, rejected), 0)


def _implicit(record: Record) -> Question:
    """The prompt is what both texts begin with, divided as `extract_prompt` of TRL 1.16 does it."""
    chosen, rejected = question_text(record, "chosen"), text(record, "rejected")
    for name in ("question", "query", "system_prompt"):
        if given(record.get(name)):
            raise InputError(f"field {name!r} belongs to what is asked; write what both answer as 'prompt'.")
    if chosen == rejected:
        raise Unusable(SAME_CHOICES)
    differing = (n for n, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
    shared = next(differing, min(len(chosen), len(rejected)))
    if shared and chosen[shared - 1] == " ":
        shared -= 1  # the space belongs to the completion
    if not chosen[:shared].strip():
        raise InputError("fields 'chosen' and 'rejected' begin with nothing in common; add a field 'prompt'.")
    if shared in (len(chosen), len(rejected)):
        raise InputError("fields 'chosen' and 'rejected': one is the beginning of the other; add a field 'prompt'.")
    prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    return Question(identity(record, prompt, chosen, rejected), prompt, (chosen, rejected), 0)


def is_right(record: Record) -> bool:
    """What the label of a completion says."""
    label = record["label"]
    if not (isinstance(label, bool) or label in (0, 1)):
        raise InputError(f"field 'label' is {label!r}; give true (a right completion) or false (a wrong one).")
    return bool(label)


def _unpaired(record: Record) -> Example:
    right = is_right(record)
    return Example(question_text(record, "prompt", empty=True), text(record, "completion"), right)


def _prompted(record: Record) -> Question:
    completion = lone_answer(record, "completion")
    prompt = question_text(record, "prompt")
    return Question(identity(record, prompt, completion), prompt, (completion,), 0)


def _judged(record: Record) -> Question:
    """A completion that may be right or wrong."""
    prompt, completion = question_text(record, "prompt", empty=True), text(record, "completion")
    return Question(identity(record, prompt, completion), prompt, (completion,))


PREFERENCE_PAIRS = Form("preference pairs", ("prompt", "chosen", "rejected"), "verbatim", _preference)
IMPLICIT_PROMPT = Form("preference pairs with an implicit prompt", ("chosen", "rejected"), "verbatim", _implicit)
UNPAIRED = Form(
    "unpaired preference", ("prompt", "completion", "label"), "verbatim", _unpaired, answers=("label",), ask=_judged
)
RIGHT_COMPLETIONS = Form("right completions only", ("prompt", "completion"), "verbatim", _prompted, ask=_judged)
