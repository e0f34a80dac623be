"""Words questions in one template, with few-shot examples before each."""

import dataclasses
import hashlib
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from likra.data.conversation import Context
from likra.data.question import Question
from likra.data.templates.template import Template, template
from likra.errors import InputError


@dataclass(frozen=True)
class Prompter:
    """Words questions in one style, with few-shot examples before each.

    Attributes:
        style: Name of a template, one of `TEMPLATES`.
        shots: Number of few-shot examples in the prompt.
        pool: Questions that the examples are taken from (the source's training split).
        sampled: False: the first `shots` of the pool for every question. True: drawn per question, by its id.
        instead: Question -> the question whose text is asked in place of its own, after the same examples
            (`likra.data.controls`); None: its own.

    Raises:
        InputError: `shots` is negative, the template has examples of its own, or the pool is too small.

    >>> asked = Question("1", "Which gas?", ("oxygen", "argon"), 0)
    >>> pool = [Question("2", "Which metal?", ("iron", "tin"), 1), Question("3", "Which city?", ("Rome",), 0)]
    >>> Prompter("qa", shots=1, pool=pool).pairs(asked)[1]
    ('Question: Which metal?\\nAnswer: tin\\n\\nQuestion: Which gas?\\nAnswer:', ' argon')
    """

    style: str
    shots: int = 0
    pool: Sequence[Question] = ()
    sampled: bool = False
    instead: Mapping[Question, Question] | None = None

    def __post_init__(self) -> None:
        if self.shots < 0:
            raise InputError(f"shots must be 0 or more, got {self.shots}.")
        if self.shots and self.template.has_examples:
            raise InputError(f"shots must be 0 in the style {self.style!r}, which has fixed examples of its own.")
        if self.shots and len(self.pool) <= self.shots:
            raise InputError(
                f"shots must be fewer than the answered training questions that examples are taken from "
                f"({len(self.pool)}), got {self.shots}."
            )

    @property
    def template(self) -> Template:
        """The template of this style.

        Raises:
            InputError: There is none.
        """
        return template(self.style)

    def pairs(self, question: Question) -> list[tuple[Context, str]]:
        """One (context, completion) pair per choice."""
        asked = question
        if self.instead is not None:
            other = self.instead[question]
            asked = dataclasses.replace(question, text=other.text, before=other.before)
        used, shots = self.template, self._examples(question)
        return [(used.after(shots, context), completion) for context, completion in used.pairs(asked)]

    def _examples(self, question: Question) -> list[tuple[Context, str]]:
        """Contexts of solved questions, with their right completions."""
        if not self.shots:
            return []
        if self.sampled:
            seed = hashlib.sha256(question.id.encode()).hexdigest()
            drawn: Sequence[Question] = random.Random(seed).sample(self.pool, self.shots + 1)
        else:
            drawn = self.pool
        # A question is never an example of itself, even under another id; one more is drawn for that case.
        asked = question.asked
        shots = list(itertools.islice((shot for shot in drawn if shot.asked != asked), self.shots))
        if len(shots) < self.shots and self.sampled:  # several of them ask it
            others = [shot for shot in self.pool if shot.asked != asked]
            shots = random.Random(seed).sample(others, min(self.shots, len(others)))
        if len(shots) < self.shots or any(shot.answer is None for shot in shots):
            raise InputError(
                f"shots is {self.shots}, but the examples for {question.name} would ask the same as it, or have no "
                "answer; use fewer, or give more training questions, with answers."
            )
        return [self.template.pairs(shot)[shot.answer] for shot in shots if shot.answer is not None]
