"""The canonical form of a text, by which choices that say the same are found."""

import re
import unicodedata
from collections.abc import Iterable

#: Unicode's other spaces (no-break, thin, ideographic, ...), each of which is written as a plain one.
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
#: Characters that are never seen: soft hyphens, marks of direction, spaces of no width. (Joiners change what is seen.)
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
#: Characters not seen at either end of a text: white space, controls, fillers, and joiners with nothing to join.
_ENDS = "[\\s\x00-\x1f\x7f-\x9f\u200c\u200d\u2800\u3164\uffa0\ufe00-\ufe0e]+"
_UNSEEN = re.compile(f"^{_ENDS}|{_ENDS}$")


def is_whole(text: str) -> bool:
    """Whether a text can be written: JSON's escapes can make half a surrogate pair, which no tokenizer reads.

    >>> is_whole("caf\u00e9"), is_whole("\\ud800")
    (True, False)
    """
    return text.isascii() or text.encode("utf-8", "ignore").decode() == text


def composed(text: str) -> str:
    """A text in Unicode's composed form (NFC), with every kind of space as a plain space.

    Compatibility forms (NFKC) would go too far: they make "10\u00b2" into "102".

    >>> composed("cafe\u0301") == "caf\u00e9"
    True
    """
    return text if text.isascii() else _SPACES.sub(" ", unicodedata.normalize("NFC", text))


def canonical(text: str) -> str:
    """The composed form of a text without invisible characters, and without white space at its ends.

    >>> canonical("Paris\u00a0") == canonical(" Paris")
    True
    """
    seen = text if text.isascii() else _INVISIBLE.sub("", text)
    return _UNSEEN.sub("", composed(seen))


def same_texts(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether texts are the same, whatever their order, invisible characters and white space at their ends.

    >>> same_texts(["web", "bills"], ["bills ", "web"]), same_texts(["web"], ["Web"])
    (True, False)
    """
    return {*map(canonical, some)} == {*map(canonical, others)}
