"""A stream of questions, cut into parts: the same data gives the same parts, whoever reads it and how often."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from likra.data.question import Question
from likra.utils.keys import digest

#: Candidates of a part, at most, unless a single record has more: what a killed run does again.
SIZE = 2048


@dataclass(frozen=True)
class Part:
    """Some of the questions, which follow each other.

    Attributes:
        name: Its number and a digest of its questions: equal for equal parts alone.
        records: The number of each question's record, counted from 0.
        questions: The questions.
    """

    name: str
    records: tuple[int, ...]
    questions: tuple[Question, ...]

    @classmethod
    def of(cls, number: int, asked: Iterable[tuple[int, Question]]) -> "Part":
        """The part of this number, with its questions and the numbers of their records."""
        records, questions = zip(*asked, strict=True)
        texts = (json.dumps([n, *_content(question)]) for n, question in zip(records, questions, strict=True))
        return cls(f"{number:06d}-{digest(texts)[:24]}", records, questions)

    @property
    def candidates(self) -> int:
        """How many candidates it has."""
        return sum(len(question.choices) for question in self.questions)

    def as_json(self) -> str:
        """All that it takes to score it elsewhere, see `from_json`."""
        questions = [[*_content(question), question.where] for question in self.questions]
        return json.dumps([self.name, self.records, questions])

    @classmethod
    def from_json(cls, text: str) -> "Part":
        """What `as_json` wrote."""
        name, records, questions = json.loads(text)
        return cls(name, tuple(records), tuple(_question(*content) for content in questions))


def _content(question: Question) -> list[object]:
    """All of a question that is read or written."""
    return [question.id, question.text, question.choices, question.before]


def _question(id: str, text: str, choices: list[str], before: list[list[str]], where: str) -> Question:
    turns = tuple((role, content) for role, content in before)
    return Question(id, text, tuple(choices), before=turns, where=where)


def cut(asked: Iterable[list[Question]], size: int | None = None) -> Iterator[Part]:
    """The parts of some records' questions; those of one record stay together.

    Args:
        asked: The questions of each record.
        size: Candidates of a part; default: `SIZE`.

    >>> gas, metal = Question("1", "Which gas?", ("oxygen", "argon")), Question("2", "Which metal?", ("iron",))
    >>> [(part.records, part.candidates) for part in cut([[gas], [metal], [metal]], size=3)]
    [((0, 1), 3), ((2,), 1)]
    """
    size, number, count = size or SIZE, 0, 0
    waiting: list[tuple[int, Question]] = []
    for record, questions in enumerate(asked):
        more = sum(len(question.choices) for question in questions)
        if waiting and count + more > size:
            yield Part.of(number, waiting)
            number, count, waiting = number + 1, 0, []
        waiting += [(record, question) for question in questions]
        count += more
    if waiting:
        yield Part.of(number, waiting)
