"""Hard negatives from the answers of the most similar other questions."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from likra.data.question import Question
from likra.mining.equivalence import normal

_AT_ONCE = 1 << 22  # similarities held at a time


class Similar:
    """Proposes the right answers of other questions of the same set, the most similar question first.

    Questions are compared by the cosine of their words' TF-IDF weights; the seed decides the order
    of equally similar ones. Questions with the same text, or with no word in common, are never taken.
    """

    def __init__(self, questions: Sequence[Question], tries: int, seed: int) -> None:
        self._found = _neighbours(questions, tries, seed)
        self._questions = questions

    def propose(self, wanted: dict[int, range]) -> dict[int, list[str]]:
        """The answers of each wanted question's nearest neighbours.

        Args:
            wanted: Index of a question -> which of its neighbours are meant: 0 is the most similar question.

        Returns:
            Index of a question -> the right answers of those neighbours; fewer where there are no more.
        """
        result = {}
        for place, numbers in wanted.items():
            near = (self._questions[other] for other in self._found[place][numbers.start : numbers.stop])
            result[place] = [other.choices[other.answer] for other in near if other.answer is not None]
        return result


def _neighbours(questions: Sequence[Question], count: int, seed: int) -> list[list[int]]:
    """For each question, the indices of the `count` most similar ones, most similar first."""
    words = [normal(question.transcript) for question in questions]
    if not any(words):
        return [[] for _ in questions]
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load

    weights_QV = TfidfVectorizer(analyzer=normal).fit_transform([question.transcript for question in questions])
    same: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, found in enumerate(words):
        same[found].append(place)
    result: list[list[int]] = []
    step = max(1, _AT_ONCE // len(questions))
    for start in range(0, len(questions), step):
        close_RQ = (weights_QV[start : start + step] @ weights_QV.T).toarray()
        for place, close_Q in enumerate(close_RQ, start):
            close_Q[same[words[place]]] = 0
            # Without rounding, the order in which a sum is taken would decide between equally similar ones.
            close_Q = close_Q.round(9)
            rng = np.random.default_rng(random.Random(f"{seed} similar {questions[place].id}").getrandbits(64))
            order = np.lexsort((rng.random(len(close_Q)), -close_Q))[:count]
            result.append([int(other) for other in order if close_Q[other] > 0])
    return result
