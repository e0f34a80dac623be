"""When two texts are one: choices that say the same, and records that ask the same."""

import re
import unicodedata

#: Unicode's other spaces (no-break, thin, ideographic, ...), each of which is written as a plain one.
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
#: What is not seen at either end of a text: white space, and signs of no width.
_UNSEEN = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029\u200b\u2060\ufeff"


def composed(text: str) -> str:
    """A text in Unicode's composed form (NFC), with every kind of space as a plain space.

    Compatibility forms (NFKC) would go too far: they make "10\u00b2" into "102".

    >>> composed("cafe\u0301") == "caf\u00e9"
    True
    """
    return text if text.isascii() else _SPACES.sub(" ", unicodedata.normalize("NFC", text))


def canonical(text: str) -> str:
    """What two texts have in common that are one: the composed form, without what is not seen at either end.

    >>> canonical("Paris\u00a0") == canonical(" Paris")
    True
    """
    return composed(text).strip(_UNSEEN)
