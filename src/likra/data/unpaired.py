"""Unpaired records (thumbs) to be judged: each as a question with one candidate, which is right or wrong."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from likra.data.canonical import composed
from likra.data.conversation import Context
from likra.data.question import Example, Question
from likra.data.sources import Source, restyled
from likra.data.templates import Prompter, template
from likra.errors import InputError

#: Training records that a threshold is chosen on, at most: they are read beside those that are judged.
REFERENCE = 512


@dataclass(frozen=True)
class LonePrompter(Prompter):
    """Words lone candidates as their records have them.

    Attributes:
        contexts: id of a question -> what is read before its candidate.
    """

    contexts: Mapping[str, Context] = field(default_factory=dict)

    def pairs(self, question: Question) -> list[tuple[Context, str]]:
        """The (context, completion) pair of the one candidate."""
        return [(self.contexts[question.id], question.choices[0])]


@dataclass(frozen=True)
class LoneCandidates:
    """Unpaired records, as questions with one candidate each.

    Attributes:
        questions: One for each record; its `answer` is None, for a record may be wrong.
        labels: Whether each record's candidate is right.
        judged: How many of them are judged, the first ones; the others are training records, to choose thresholds on.
        prompter: Words them.
        alone: Words them without their prompts, with nothing before the candidate, as lm-evaluation-harness's
            `acc_mutual_info` does.

    >>> right, wrong = Example("Which gas?", " oxygen", True), Example("Which gas?", " argon", False)
    >>> found = LoneCandidates.of([right, wrong], "verbatim")
    >>> found.questions[1].choices, found.labels, found.prompter.pairs(found.questions[1])
    ((' argon',), (True, False), [('Which gas?', ' argon')])
    """

    questions: list[Question]
    labels: tuple[bool, ...]
    judged: int
    prompter: LonePrompter
    alone: LonePrompter

    @classmethod
    def of(
        cls,
        data: Source | Sequence[Example],
        style: str,
        *,
        split: str | None = None,
        limit: int | None = None,
        reference: bool = True,
        **others: object,
    ) -> "LoneCandidates":
        """The records to judge, and training records.

        Args:
            data: A source of unpaired data, or examples.
            style: The adapters' prompt template; see `in_template_of`.
            split: Of a source.
            limit: Only the first so many records.
            reference: Whether to take training records of the source: up to `REFERENCE`, drawn with seed 0, none of a
                prompt that is judged.
            **others: What few-shot examples are asked for; there can be none.

        Raises:
            InputError: Few-shot examples are asked for, there are no such records, or they are all right, or all wrong.
        """
        if any(others.values()):
            raise InputError("shots must be 0 for unpaired data, which has no solved questions to show.")
        train: list[Example] = []
        if isinstance(data, Source):
            data = in_template_of(data, style)
            style, train = data.style, data.examples.get("train", []) if reference else []
            items = cast(list[Example], data.items(split))
        else:
            items = list(data)
        judged = items[:limit]
        check_both_kinds([example.right for example in judged])
        prompts = {example.asked for example in judged}
        others_of = [example for example in train if example.asked not in prompts]
        if len(others_of) > REFERENCE:
            others_of = random.Random(0).sample(others_of, REFERENCE)
        examples = [*judged, *others_of]
        questions = [
            Question(f"record {number}", one.text, (composed(one.completion),), where=one.where)
            for number, one in enumerate(examples, start=1)
        ]
        contexts = {question.id: one.prompt for question, one in zip(questions, examples, strict=True)}
        prompter = LonePrompter(style, contexts=contexts)
        alone = replace(prompter, contexts=dict.fromkeys(contexts, ""))
        return cls(questions, tuple(one.right for one in examples), len(judged), prompter, alone)


def check_both_kinds(labels: Sequence[bool]) -> None:
    """Raise InputError unless some records are right and some are wrong."""
    if len(set(labels)) < 2:
        raise InputError(
            f"the {len(labels)} records that are judged are all {'right' if all(labels) else 'wrong'}, and right ones "
            "are compared with wrong ones; judge more records, or another split (all, if none of it trained the heads)."
        )


def is_unpaired(data: object) -> bool:
    """Whether data is unpaired: a source of it, or examples."""
    if isinstance(data, Source):
        return data.unpaired
    return isinstance(data, Sequence) and len(data) > 0 and isinstance(data[0], Example)


def in_template_of(source: Source, style: str) -> Source:
    """Unpaired data as adapters are judged on it: in their template, so that `Likra.score` words a candidate alike.

    A template that was chosen for the source itself stays, and where the adapters' fits no lone candidates (it lists
    choices, fills a blank or has no prompt), that of the data.
    """
    if source.chosen or source.style == style or not template(style).continues:
        return source
    return restyled(source, style)
