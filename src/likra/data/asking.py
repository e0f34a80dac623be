"""The questions of a source as a stream, as adapters are asked them: their right answers need not be known."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from likra.data.conversation import Conversation
from likra.data.few_shot import check_asked
from likra.data.forms import FORMS, Form, Record, Unusable, identity_of, recognise
from likra.data.forms.fields import identity
from likra.data.forms.fields import text as text_of
from likra.data.question import Example, Question
from likra.data.sources.collect import check_text, naming
from likra.data.sources.loading import located_records
from likra.data.sources.memory import NAME
from likra.data.sources.source import Columns
from likra.data.sources.table import TABLE
from likra.data.templates import Chat, template
from likra.errors import InputError, UnknownForm


@dataclass(frozen=True)
class Asked:
    """The questions of a source, which can be read again and again, each time in constant memory.

    What the records say of right answers is not read. A record that holds one completion (a thumb, a conversation) is a
    question with one choice. In contrast to `likra.load` there are no splits, and a record that cannot be used is
    refused rather than skipped, so that each record has its questions in what is written about them.

    Attributes:
        source: As `likra.load` takes it.
        style: The prompt template that words the questions: that of the adapters, unless a user chose another.
        learned: The table that the adapters learned, if they learned one (`learned_columns`). Records of no known form
            that have its field of texts are texts, whose choices are its labels.
        text: The field of the texts, where it is not that of the table.

    >>> [[question]] = Asked([{"question": "Which gas?", "choices": ["oxygen", "argon"]}], "qa")
    >>> question.choices, question.answer
    (('oxygen', 'argon'), None)
    """

    source: str | Path | Iterable[Any]
    style: str
    learned: Columns | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.learned is None:
            raise InputError(
                "these heads learned no table of texts and labels, so no field of texts (--text) can be named: give "
                "records that have choices, or train heads with --text and --label."
            )
        template(self.style)

    @property
    def name(self) -> str:
        """The name of the source, or what stands for one in memory."""
        return str(self.source) if isinstance(self.source, str | Path) else NAME

    def __iter__(self) -> Iterator[list[Question]]:
        """The questions of each record, in the order of the records; most have one.

        Raises:
            InputError: The source is missing, or a record is of no known form, of another one than those before it, or
                not for this template.
        """
        columns = replace(self.learned, text=self.text) if self.learned and self.text else self.learned
        first: Form | None = None
        for where, _, record in located_records(self.source, columns.names if columns else ()):
            if first is None:
                texts = columns and (self.text or _is_text(record, columns))
                first = _table(columns) if columns and texts else self._recognised(record, where)
                known = {frozenset(record): first}
            form = first if first.name == TABLE else known.get(frozenset(record))
            if form is None or not form.fits(record, answered=False):
                form = known[frozenset(record)] = recognise(record, where, answered=False)
            if form.name != first.name:
                raise InputError(f"{where}: is of the form {form.name}, but the records before it are {first.name}.")
            yield [replace(question, where=where) for question in self._questions(form, record, where)]

    def _recognised(self, record: Record, where: str) -> Form:
        """The form of the first record."""
        try:
            return recognise(record, where, answered=False)
        except UnknownForm:
            if self.learned is None:
                raise
            raise InputError(
                f"{where}: lacks the field of texts that these heads learned ({self.learned.text!r}), and is of no "
                f"other known form. It has the fields {', '.join(map(str, record))}; name that of its texts: "
                "--text FIELD (text= in Python)."
            ) from None

    def _questions(self, form: Form, record: Record, where: str) -> list[Question]:
        """What a record asks, as its form reads it; errors name the record."""
        with naming(where, form):
            try:
                found: Any = (form.ask or form.read)(record)
            except Unusable as reason:
                raise InputError(f"{reason}, so it cannot be scored; remove the record.") from None
            questions = [_question(item) for item in (found if isinstance(found, list) else [found])]
            for question in questions:
                check_text(question)
                _check_template(question, form.style, self.style)
        return questions


def _is_text(record: Record, columns: Columns) -> bool:
    """Whether a record is one of the table: it has both fields, or that of the texts and is of no known form."""
    known = columns.label not in record and any(form.fits(record, answered=False) for form in FORMS)
    return columns.text in record and not known


def _table(columns: Columns) -> Form:
    """The form of a table's texts, whose labels need not be there."""

    def read(record: Record) -> Question:
        if columns.text not in record:
            raise InputError(f"has no field {columns.text!r}; its fields are {', '.join(map(str, record))}.")
        text = text_of(record, columns.text)
        return Question(identity(record, text), text, columns.labels)

    return Form(TABLE, (), "qa", read)


def _question(item: Any) -> Question:
    """What a form reads, as a question without an answer."""
    if isinstance(item, Unusable):
        raise InputError(f"{item}, so it cannot be scored; remove the record.")
    if isinstance(item, Example):  # forms from outside may know completions by themselves, and not ask
        turns = item.prompt.turns if isinstance(item.prompt, Conversation) else (("user", item.prompt),)
        content = [part for turn in turns for part in turn]
        identity = identity_of(*content, item.completion)
        return Question(identity, turns[-1][1], (item.completion,), before=tuple(turns[:-1]))
    question: Question = getattr(item, "question", item)  # of an open one the answer alone is open
    return replace(question, answer=None)


def _check_template(question: Question, own: str, style: str) -> None:
    """Raise InputError where a question cannot be worded in a template, or says too little in it.

    Args:
        question: The question.
        own: The template of its form.
        style: The template that words it.
    """
    used, of_form = template(style), template(own)
    if question.before and not isinstance(used, Chat):
        raise InputError(
            f"is a conversation of several turns, which the template {style!r} has no place for; take the template "
            "'chat' (--template)."
        )
    if used.has_prompt and not of_form.has_prompt:
        raise InputError(f"asks nothing, and the template {style!r} asks; take the template {own!r} (--template).")
    if of_form.fills_blank and not used.fills_blank and not used.lists_options:
        raise InputError(
            f"has a blank, which the template {style!r} does not fill; take the template {own!r} (--template)."
        )
    check_asked(style, question.text)
    used.answers(question)  # a template that lists choices has no place for too many
