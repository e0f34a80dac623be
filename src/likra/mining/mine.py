"""Mining hard negatives for questions of which only the right answers are known."""

import dataclasses
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from likra.data.question import Question
from likra.data.templates import Prompter, template
from likra.errors import InputError
from likra.mining.equivalence import Equivalence, normal
from likra.mining.sampling import Sampler
from likra.mining.similar import Similar
from likra.models.base import Base

#: Kinds of mined answers; the words are the command line's too.
KINDS: dict[str, str] = {
    "sampled": "what the base model itself says to the question",
    "similar": "right answers of the most similar other questions",
}
RIGHT = "right"

EMPTY = "empty"
EQUAL = "equal to a right answer"
EQUIVALENT = "equivalent to a right answer"
REPEATED = "repeated"
_TRIES = 3  # per wrong answer wanted, unless told otherwise

Propose = Callable[[dict[int, range]], dict[int, list[str]]]


@dataclass(frozen=True)
class MiningConfig:
    """How to mine.

    Attributes:
        kinds: Any of `KINDS`, in the order in which they are mined: a later kind does not repeat an earlier one.
        per_question: Wrong answers wanted per question and kind.
        tries: Answers looked at per question and kind before giving up; None: three times `per_question`.
        temperature: Of sampling.
        max_tokens: New tokens of a sampled answer at most; None: as many as the longest right one has, at most 64.
        seed: Seed of all draws.
    """

    kinds: tuple[str, ...] = ("sampled",)
    per_question: int = 3
    tries: int | None = None
    temperature: float = 1.0
    max_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise InputError(f"kinds must be among {', '.join(KINDS)}, got {kind!r}.")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise InputError(f"kinds must be one or more of {', '.join(KINDS)}, each once, got {self.kinds}.")
        if self.per_question < 1:
            raise InputError(f"per_question must be 1 or more, got {self.per_question}.")
        if self.tries is not None and self.tries < self.per_question:
            raise InputError(
                f"tries must be at least the answers wanted per question ({self.per_question}), got {self.tries}."
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature must be a positive number, got {self.temperature}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens must be 1 or more, got {self.max_tokens}.")

    @property
    def most_tries(self) -> int:
        return _TRIES * self.per_question if self.tries is None else self.tries


@dataclass
class Kind:
    """Counts of one kind.

    Attributes:
        found: Answers that were looked at.
        kept: Those that are wrong and new.
        dropped: reason -> how many were left out for it.
    """

    found: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys((EMPTY, EQUAL, EQUIVALENT, REPEATED), 0))


@dataclass
class Mined:
    """Questions with mined wrong answers.

    Attributes:
        questions: Those for which something was found, with the right answer, at a place drawn by the seed, and the
            wrong ones as choices; `id`, `text` and `group` are the given question's.
        origins: For each of these questions, `right` or the kind of each choice.
        kinds: kind -> its counts.
        without: Questions for which nothing was found.
    """

    questions: list[Question]
    origins: list[tuple[str, ...]]
    kinds: dict[str, Kind]
    without: int


def check_style(style: str) -> None:
    """Raise InputError if no answers can be mined for data of this style."""
    used = template(style)
    if not used.continues:
        raise InputError(
            f"data worded as {style!r} ({used.title}) has no prompt that an answer continues, so wrong answers "
            "cannot be mined for it."
        )


def mine(
    base: Base,
    questions: Sequence[Question],
    prompter: Prompter,
    config: MiningConfig | None = None,
    *,
    answers: Sequence[str] = (),
    memory: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Mined:
    """Mine hard negatives for questions. Only their right answers are used, whatever other choices they have.

    The same arguments give the same answers. The sampled answers of a question do not depend on the other questions
    (except through the default of `max_tokens`).

    Args:
        base: The model that is asked.
        questions: The questions, with known answers. Other questions' answers come from these alone.
        prompter: Words them.
        config: How to mine.
        answers: Right answers by which the rarity of words is judged (see `Equivalence`); default: those of
            `questions`.
        memory: Bytes that sampling may take beside the model; default: a share of what is free.
        progress: Called with (answers sampled, answers to be sampled as far as is known) after each batch.

    Raises:
        InputError: The style's answers do not continue a prompt, a question has no known answer or does not fit the
            model, or nothing at all was found.
    """
    config = config or MiningConfig()
    check_style(prompter.style)
    if not questions:
        raise InputError("there are no questions to mine wrong answers for.")
    right: list[str] = []
    rights: dict[tuple[str, ...], list[str]] = defaultdict(list)  # of questions with the same text
    for question in questions:
        if question.answer is None:
            raise InputError(f"question {question.id!r} has no known answer; wrong ones are told from the right one.")
        right.append(question.choices[question.answer])
        rights[normal(question.transcript)].append(right[-1])
    collector = _Collector(Equivalence(answers or right), questions, [rights[normal(q.transcript)] for q in questions])
    for kind in config.kinds:
        propose: Propose
        if kind == "similar":
            propose = Similar(questions, config.most_tries, config.seed).propose
        else:
            sampler = Sampler(
                base,
                questions,
                prompter,
                temperature=config.temperature,
                max_tokens=config.max_tokens,
                seed=config.seed,
                memory=memory,
            )
            propose = _counted(sampler, progress)
        collector.gather(kind, propose, config.per_question, config.most_tries)
    mined = Mined([], [], collector.kinds, 0)
    for question, answer, wrong in zip(questions, right, collector.wrong, strict=True):
        if not wrong:
            mined.without += 1
            continue
        place = random.Random(f"{config.seed} place {question.id}").randrange(len(wrong) + 1)
        choices, origins = [text for text, _ in wrong], [kind for _, kind in wrong]
        choices.insert(place, answer)
        origins.insert(place, RIGHT)
        mined.questions.append(dataclasses.replace(question, choices=tuple(choices), answer=place))
        mined.origins.append(tuple(origins))
    if not mined.questions:
        dropped = "; ".join(f"{kind}: {tally(found)}" for kind, found in collector.kinds.items())
        raise InputError(
            f"no wrong answer was found: {dropped}; allow more tries, another kind or a higher temperature."
        )
    return mined


def tally(kind: Kind) -> str:
    """Why answers of a kind were dropped, in words."""
    return ", ".join(f"{count} {reason}" for reason, count in kind.dropped.items() if count) or "nothing"


class _Collector:
    """Collects the proposed answers that are wrong and new."""

    def __init__(self, same: Equivalence, questions: Sequence[Question], rights: Sequence[list[str]]) -> None:
        self._same, self._questions, self._rights = same, questions, rights
        self.wrong: list[list[tuple[str, str]]] = [[] for _ in questions]  # (answer, kind)
        self.kinds: dict[str, Kind] = {}

    def gather(self, kind: str, propose: Propose, per_question: int, tries: int) -> None:
        """Ask for the answers that are still missing, until all are found or all tries are used."""
        found = self.kinds[kind] = Kind()
        kept, starts = [0] * len(self._questions), [0] * len(self._questions)
        while True:
            wanted = {
                place: range(starts[place], min(tries, starts[place] + per_question - count))
                for place, count in enumerate(kept)
                if count < per_question and starts[place] < tries
            }
            if not wanted:
                return
            for place, texts in propose(wanted).items():
                starts[place] = wanted[place].stop
                for text in texts:
                    found.found += 1
                    if reason := self._why_not(place, text):
                        found.dropped[reason] += 1
                        continue
                    found.kept += 1
                    kept[place] += 1
                    self.wrong[place].append((text, kind))

    def _why_not(self, place: int, text: str) -> str | None:
        if not text.strip():
            return EMPTY
        if any(self._same.equal(text, right) for right in self._rights[place]):
            return EQUAL
        if any(self._same.equivalent(text, right, self._questions[place].transcript) for right in self._rights[place]):
            return EQUIVALENT
        if any(self._same.equal(text, other) for other, _ in self.wrong[place]):
            return REPEATED
        return None


def _counted(sampler: Sampler, progress: Callable[[int, int], None]) -> Propose:
    """`sampler.propose`, with progress over all of its calls."""
    before = 0

    def propose(wanted: dict[int, range]) -> dict[int, list[str]]:
        nonlocal before
        total = before + sum(map(len, wanted.values()))
        found = sampler.propose(wanted, lambda done: progress(before + done, total))
        before = total
        return found

    return propose
