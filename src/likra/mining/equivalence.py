"""Whether two answers say the same, by their words and by how rare these are."""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

_ARTICLES = frozenset(("a", "an", "the"))
_JOINING = frozenset(("and", "or", "&"))
_NEGATIONS = frozenset(
    "not never cannot cant couldnt didnt doesnt dont hadnt hasnt havent isnt arent wasnt werent wont wouldnt "
    "shouldnt aint".split()
)


def _all_of(*categories: str) -> str:
    """The characters of some of Unicode's categories, for a set in a regular expression."""
    every = map(chr, range(0x80, 0x1FFFF))
    return re.escape("".join(one for one in every if unicodedata.category(one).startswith(categories)))


#: Letters, digits, and the marks that letters are written with (vowel signs, tones, accents).
_LETTER = rf"(?:[^\W_]|[{_all_of('M')}])"
_ONE = rf"(?<!{_LETTER})[^\W\d_](?!{_LETTER})"  # a letter that stands alone, as variables do
#: Signs that mean something wherever they stand: of mathematics, currencies, code; emoji.
_SIGN = rf"[#%&@*/\\<>=+|~^$\u2030\u2032\u2033{_all_of('S')}]"
_NUMBER = r"(?<!\w)[-\u2212]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?!\w)"
_WORD = re.compile(
    rf"""(?P<number>{_NUMBER}(?!{_LETTER}))
    | (?P<word>
        (?:(?<!{_LETTER})[\#@$&]+(?=[^\W\d_]))?      # @home
        (?:(?<![\w)])-(?={_ONE}))?                     # -x, but not the dash before a word
        {_LETTER}+
        (?:[+\#*\u266f\u2032]+(?!{_LETTER})          # C++, C#, A+
         | (?<=\b[a-z])!(?!{_LETTER})                  # n!, but not the end of an exclamation
         | (?<=\b[^\W\d_])-(?![\w-])                # A-
        )?)
    | (?P<sign>{_SIGN}
        | (?<=[\d)])!(?!\w)                           # 5!
        | (?<={_LETTER.replace("?:", "")})[(\[{{](?=\S)
        | [(\[{{](?=-?\d) | (?<=\d)[)\]}}]             # intervals
        | (?<=\b[^\W_])\ ?-(?=\ ?{_ONE})               # 5 - x
        | (?<=\b[^\W\d_])\ ?-(?=\ ?\d)                # x - 5
        | (?<=\d)_(?=\d))                             # a subscript
    | (?P<comma>[,;\uff0c\u3001\u061b\u060c])""",
    re.VERBOSE,
)
_APOSTROPHES = re.compile("['\u2019]")
_PRIME = re.compile(r"(?<![\w'\u2018\u2019])([^\W\d_])['\u2019](?!\w)")  # f'(x)
_DECORATION = re.compile("[\u2122\u00ae\u00a9\u2120\ufe00-\ufe0f`]")  # trade marks, variants of emoji, code in Markdown
_STARRED = re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*]+)(?<=\S)\1(?![\w*])")  # *emphasis*
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207f]+")
_LOWERED = re.compile(r"(?<=\d)(?=[\u2080-\u208e])")
_FRACTION = re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215f])")
_SHOUTED = re.compile(r"\b([A-Z])!")  # "Plan B!" is an exclamation, n! a factorial
_WORDS = re.compile(r"\w+")

#: How rare the rarest shared word must be, as a share of the rarest word that one of the two has to itself. At 1, words
#: whose counts differ by chance decide; from 0.8 on down, near misses that share a common word are dropped. Measured on
#: what the embedded model says to the world's training questions: at 0.9, 0.8% of the answers that name the true value
#: are taken for another one (at 1 2.4%, at 0.8 0.1%), which makes 1.5% of all that is kept, and 0.5% of those that name
#: another value are lost. Of the wrong choices that ARC-Challenge's makers wrote 19% would be (at 1 15%, at 0.8 23%).
AS_RARE = 0.9


@lru_cache(maxsize=1 << 16)
def clauses(text: str) -> tuple[tuple[str, ...], ...]:
    """The words of a text, for comparing, in the parts that commas and "and" or "or" make of it.

    Without articles, punctuation, and case (but that of units: mW is not MW), and numbers in one way of writing. Signs
    are words (x > 0), or parts of the word that they stand at (C++); so are marks of letters (Hindi's vowel signs).
    """
    whole = text.split()
    text = _RAISED.sub(r"^\g<0>", _LOWERED.sub("_", _FRACTION.sub(" ", _DECORATION.sub("", text))))
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/").replace("\u2215", "/")
    text = _SHOUTED.sub(r"\1", text)
    text = _WORDS.sub(lambda word: word[0] if _mixed(word[0]) else word[0].casefold(), text)
    text = unicodedata.normalize("NFKC", text)
    text = _APOSTROPHES.sub("", _PRIME.sub("\\1\u2032", _STARRED.sub(r"\2", text)))
    found: list[list[str]] = [[]]
    for match in _WORD.finditer(text):
        if match["comma"]:
            found.append([])
            continue
        word = _number(match["number"]) if match["number"] else match[0].strip()
        if word in _JOINING:
            found += [[word], []]
        else:
            found[-1].append(word)
    kept = tuple(tuple(word for word in part if word not in _ARTICLES) for part in found)
    if any(kept):
        return tuple(part for part in kept if part)
    words = tuple(word for part in found for word in part) or tuple(whole)
    return (words,) if words else ()


def normal(text: str) -> tuple[str, ...]:
    """The words of a text in their order (see `clauses`).

    Empty only for blank text: a text of articles or punctuation alone ("A", "-") is kept.
    """
    return tuple(word for part in clauses(text) for word in part)


def _mixed(word: str) -> bool:
    """Whether a capital follows a small letter in a short word: a unit or a symbol (mW, kB, pH), whose case counts."""
    return len(word) <= 3 and any(a.islower() and b.isupper() for a, b in itertools.pairwise(word))


def _number(text: str) -> str:
    value = Decimal(text.replace(",", "").replace("\u2212", "-"))
    return format(value.normalize(), "f") if value else "0"


def _numbers(words: Iterable[str]) -> set[str]:
    return {word for word in words if re.fullmatch(r"-?\d+(?:\.\d+)?", word)}


def _signs(words: Iterable[str]) -> set[str]:
    return {word for word in words if not any(letter.isalnum() for letter in word)}


class Equivalence:
    """Tells whether two answers to a question are the same, from how rare words are among the answers of a source.

    Two answers are equal if they have the same words in the same order; the parts that commas, "and" or "or" make may
    be exchanged ("bread and cheese"), but not those of lists of numbers. They are equivalent if all words of one are in
    the other, or if the rarest word that they share is (nearly) as rare as the rarest that one of them has to itself:
    "surely cello, of course" and "clearly cello, as ever" name one instrument, "surely harp, of course" another. Words
    of the question say nothing of its answer and are left out, unless an answer has no others. Answers with numbers
    that differ are never equivalent, nor with signs that differ ("x > 0", "x < 0"), nor where one denies ("not") what
    the other says, nor where all that differs is the order of the words ("dog bites man").

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
        """Whether two answers have the same words in the same order, but for the order of parts."""
        if normal(one) == normal(other):
            return True
        parts = sorted(clauses(one))
        numbered = any(part and not part[1:] and _numbers(part) for part in parts)
        return not numbered and parts == sorted(clauses(other))

    def equivalent(self, one: str, other: str, question: str = "") -> bool:
        """Whether two answers to a question say the same; true of equal ones."""
        if self.equal(one, other):
            return True
        if sorted(normal(one)) == sorted(normal(other)):
            return False
        ones, others = set(normal(one)), set(normal(other))
        if ones != others and {word.casefold() for word in ones} == {word.casefold() for word in others}:
            return False  # another unit
        for kind in (_numbers, _signs):
            if kind(ones) and kind(others) and kind(ones) != kind(others):
                return False
        if _NEGATIONS.isdisjoint(ones) != _NEGATIONS.isdisjoint(others):
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
