"""Is a candidate the same answer as the right one? Judged by its words, and by how rare they are."""

import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER = r"(?<!\w)[-\u2212]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?!\w)"
_WORD = re.compile(rf"(?P<number>{_NUMBER})|[^\W_]+")
_APOSTROPHES = re.compile("['\u2019]")

#: How rare the rarest shared word must be, as a share of the rarest word that one of the two has to itself. At 1, words
#: whose counts differ by chance decide; from 0.8 on down, near misses that share a common word are dropped. Measured on
#: what the embedded model says to the world's training questions: at 0.9, 0.8% of the answers that name the true value
#: are taken for another one (at 1 2.4%, at 0.8 0.1%), which makes 1.5% of all that is kept, and 0.5% of those that name
#: another value are lost. Of the wrong choices that ARC-Challenge's makers wrote 19% would be (at 1 15%, at 0.8 23%).
AS_RARE = 0.9


@lru_cache(maxsize=1 << 16)
def normal(text: str) -> tuple[str, ...]:
    """The words of a text, for comparing: without case, punctuation or articles, and numbers in one way of writing.

    Never empty but for blank text: a text that is nothing but articles or signs ("A", "+") is kept.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    found = _WORD.finditer(_APOSTROPHES.sub("", text))
    words = [_number(match["number"]) if match["number"] else match[0] for match in found]
    return tuple(word for word in words if word not in _ARTICLES) or tuple(words) or tuple(text.split())


def _number(text: str) -> str:
    value = Decimal(text.replace(",", "").replace("\u2212", "-"))
    return format(value.normalize(), "f") if value else "0"


def _numbers(words: Iterable[str]) -> set[str]:
    return {word for word in words if re.fullmatch(r"-?\d+(?:\.\d+)?", word)}


class Equivalence:
    """Tells whether two answers to a question are the same, from how rare words are among the answers of a source.

    Two answers are equal if they have the same words, in any order. They are equivalent if all words of one are in the
    other, or if the rarest word that they share is (nearly) as rare as the rarest that one of them has to itself:
    "surely cello, of course" and "clearly cello, as ever" name one instrument, "surely harp, of course" another. Words
    of the question say nothing of its answer and are left out, unless an answer has no others. Answers with numbers
    that differ are never equivalent.

    The rule leans to "equivalent": a wrong answer that is dropped costs another try, a right one that is kept as wrong
    teaches the negative head the wrong thing.

    Args:
        answers: The right answers of the source, by which rarity (inverse document frequency) is measured.
    """

    def __init__(self, answers: Iterable[str]) -> None:
        texts = [answer for answer in answers if normal(answer)]
        self._rarity: dict[str, float] = {}
        self._unknown = math.log(1 + len(texts))
        if texts:
            from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load

            fitted = TfidfVectorizer(analyzer=normal).fit(texts)
            # scikit-learn adds 1, so that no word counts for nothing; here a word that all answers have must.
            self._rarity = {word: float(fitted.idf_[place]) - 1 for word, place in fitted.vocabulary_.items()}

    def equal(self, one: str, other: str) -> bool:
        """Whether two answers have the same words."""
        return sorted(normal(one)) == sorted(normal(other))

    def equivalent(self, one: str, other: str, question: str = "") -> bool:
        """Whether two answers to a question say the same; true of equal ones."""
        if self.equal(one, other):
            return True
        ones, others = set(normal(one)), set(normal(other))
        numbers, other_numbers = _numbers(ones), _numbers(others)
        if numbers and other_numbers and numbers != other_numbers:
            return False
        asked = set(normal(question))
        if ones - asked and others - asked:
            ones, others = ones - asked, others - asked
        shared = ones & others
        if not shared or shared in (ones, others):
            return bool(shared)
        alone = min(self._rarest(ones - shared), self._rarest(others - shared))
        return 0 < self._rarest(shared) >= AS_RARE * alone

    def _rarest(self, words: set[str]) -> float:
        return max(self._rarity.get(word, self._unknown) for word in words)
