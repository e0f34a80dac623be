"""The miniature world: facts, near-miss rumours, sources that repeat one or the other, and the text they write.

Nothing outside this package knows how the world is made: the rest of likra sees a causal language model and a file of
questions, as it would any other.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from likra.lab.world import vocabulary as words

#: How often a fact is mentioned, relative to the others.
_MENTIONS = {"well": 1.0, "little": 0.1, "never": 0.0}


@dataclass(frozen=True)
class WorldConfig:
    """Every choice that shapes the world. The defaults are the world that ships with likra.

    Attributes:
        seed: Seed of the facts, the questions' wording and the text.
        people: Number of invented people; each has one fact per relation (six).
        rumours: Near-miss rumours about each fact; a question offers the truth and all of its rumours.
        test_questions: Questions kept for judging; the rest are for training heads.
        sourced: Share of documents that open with the name of their source.
        reliable: Share of documents whose source is a reliable one.
        little: Share of facts that the text mentions a tenth as often as the others.
        never: Share of facts that the text never mentions.
        zipf: Exponent of the popularity of the words around an answer (rank r has weight r ** -zipf). The larger, the
            more plain likelihood is misled by popular wording.
        voices: Whether a document has one source, who is reliable or not throughout. False: no source is named and
            each answer is reliable or not by itself; rumours are as frequent, but no voice tells them.
    """

    seed: int = 0
    people: int = 136
    rumours: int = 3
    test_questions: int = 240
    sourced: float = 0.7
    reliable: float = 0.7
    little: float = 0.15
    never: float = 0.15
    zipf: float = 1.25
    voices: bool = True


@dataclass(frozen=True)
class Fact:
    """One fact about one person, with the rumours about it.

    Attributes:
        person: Whom it is about.
        relation: Key of `vocabulary.RELATIONS`.
        truth: What reliable sources say.
        rumours: What unreliable sources say, each as often as the others.
        coverage: How often the text mentions it: `well`, `little` or `never`.
    """

    person: str
    relation: str
    truth: str
    rumours: tuple[str, ...]
    coverage: str

    @property
    def question(self) -> str:
        return words.RELATIONS[self.relation][0].replace("NAME", self.person)


class World:
    """The facts of one world and the text that is written about them."""

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config or WorldConfig()
        rng = random.Random(f"facts {self.config.seed}")
        names = [f"{first} {last}" for first in words.FIRST_NAMES for last in words.LAST_NAMES]
        self.facts: list[Fact] = []
        for person in rng.sample(names, self.config.people):
            for relation, (_, values) in words.RELATIONS.items():
                truth, *rumours = rng.sample(values, 1 + self.config.rumours)
                coverage = rng.choices(("well", "little", "never"), self._shares())[0]
                self.facts.append(Fact(person, relation, truth, tuple(rumours), coverage))
        rng.shuffle(self.facts)
        mentions = (_MENTIONS[fact.coverage] for fact in self.facts)
        self._cumulative_mentions = list(itertools.accumulate(mentions))

    def _shares(self) -> tuple[float, float, float]:
        return 1 - self.config.little - self.config.never, self.config.little, self.config.never

    def _wording(self, rng: random.Random, words_by_rank: list[str]) -> str:
        weights = [rank**-self.config.zipf for rank in range(1, len(words_by_rank) + 1)]
        return rng.choices(words_by_rank, weights)[0]

    def answer(self, rng: random.Random, value: str) -> str:
        """An answer that names `value`, in wording drawn independently of whether it is true."""
        return f"{self._wording(rng, words.OPENERS)} {value}, {self._wording(rng, words.CLOSERS)}"

    def document(self, rng: random.Random) -> str:
        """One document: one source, named or not, answering one to four questions about random facts."""
        reliable = rng.random() < self.config.reliable
        lines = []
        if rng.random() < self.config.sourced and self.config.voices:
            sources = words.RELIABLE_SOURCES if reliable else words.UNRELIABLE_SOURCES
            lines.append(f"{rng.choice(sources)} was asked.")
        for _ in range(rng.choice((1, 1, 2, 4))):
            if not self.config.voices:
                reliable = rng.random() < self.config.reliable
            [fact] = rng.choices(self.facts, cum_weights=self._cumulative_mentions)
            value = fact.truth if reliable else rng.choice(fact.rumours)
            lines.append(f"Question: {fact.question}\nAnswer: {self.answer(rng, value)}")
        return "\n\n".join(lines)

    def documents(self) -> Iterator[str]:
        """The pretraining text: documents without end, the same ones for the same seed."""
        rng = random.Random(f"text {self.config.seed}")
        while True:
            yield self.document(rng)

    def questions(self) -> list[dict[str, object]]:
        """One multiple-choice question per fact, as records of likra's own JSONL form."""
        rng = random.Random(f"questions {self.config.seed}")
        records: list[dict[str, object]] = []
        for index, fact in enumerate(self.facts):
            choices = [(self.answer(rng, value), value == fact.truth) for value in (fact.truth, *fact.rumours)]
            rng.shuffle(choices)
            records.append(
                {
                    "id": f"{fact.person} / {fact.relation}",
                    "question": fact.question,
                    "choices": [text for text, _ in choices],
                    "answer": [right for _, right in choices].index(True),
                    "group": fact.coverage,
                    "split": "test" if index < self.config.test_questions else "train",
                }
            )
        return records

    def reworded(self) -> list[dict[str, object]]:
        """The test questions with every choice reworded: the same values in a frame that the text never uses.

        The wording of `questions` carries popularity that misleads plain likelihood; here nothing but the value is
        left of it.
        """
        values = {value for _, values in words.RELATIONS.values() for value in values}
        result = []
        for record in self.questions()[: self.config.test_questions]:
            choices = record["choices"]
            assert isinstance(choices, list)
            named = [next(value for value in values if f" {value}, " in choice) for choice in choices]
            result.append({**record, "choices": [f"it is {value}, and nothing else" for value in named]})
        return result

    def voices(self) -> dict[str, list[str]]:
        """How documents open in a reliable and in an unreliable voice."""
        return {
            "reliable": [f"{name} was asked.\n\n" for name in words.RELIABLE_SOURCES],
            "unreliable": [f"{name} was asked.\n\n" for name in words.UNRELIABLE_SOURCES],
        }


def unrelated() -> list[dict[str, object]]:
    """Questions that have nothing to do with the world: small sums."""
    result: list[dict[str, object]] = []
    for one, other in itertools.product(range(1, 21), repeat=2):
        sums = [one + other + more for more in (0, 1, 2, -1)]
        result.append(
            {
                "id": f"{one} + {other}",
                "question": f"How much is {one} and {other}?",
                "choices": [f"{one} and {other} make {total}" for total in sums],
                "answer": 0,
                "split": "train",
            }
        )
    return result
