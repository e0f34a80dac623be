"""The special tokens that a tokenizer puts around a text, found by looking, not by their names."""

from collections.abc import Sequence
from typing import Any

from likra.errors import InputError


def added_before(tokenizer: Any, *texts: str) -> list[int]:
    """The ids that a tokenizer puts before a text of its own accord: [BOS], mostly, or none.

    They are found by looking where a text's own tokens stand among all that the tokenizer gives for it, so that it
    does not matter which token it is, whether the tokenizer names it, and what is put after a text.

    Args:
        tokenizer: The tokenizer as it is now; its post-processor may have been changed since the last call.
        *texts: Texts to look at where a common letter tells nothing: the tokenizer does not know it, say.
    """
    for text in ("a", *texts):
        own, whole = _own_ids(tokenizer, text), list(tokenizer.encode(text))
        places = [at for at in range(len(whole) - len(own) + 1) if whole[at : at + len(own)] == own]
        if not places:
            raise InputError(f"the tokenizer reads {text[:40]!r} otherwise where it adds special tokens; use another.")
        if own and len(places) == 1:
            return whole[: places[0]]
    return []


def after(tokenizer: Any, before: Sequence[int], text: str) -> list[int]:
    """The ids of a text after those that stand before it; what the tokenizer would put after the text is left out.

    A text that has the last of them itself, also after white space, does not get them twice.
    """
    own, before = _own_ids(tokenizer, text), list(before)
    for place in range(len(own) if before and before[-1] in own else 0):
        if brought := next((n for n in range(len(before), 0, -1) if own[place : place + n] == before[-n:]), 0):
            return before + own[place + brought :]
        if tokenizer.decode([own[place]]).strip():
            break
    return before + own


def prefix_id(tokenizer: Any) -> int:
    """The id that stands before a text that is scored from its start, where the tokenizer adds none: BOS, or EOS."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError(
        "the tokenizer has neither a BOS nor an EOS token, so nothing can be scored after an empty prompt, or after "
        "one that makes one token with its answer."
    )


def _own_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of the text itself."""
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair
        raise InputError(f"the text {text[:40]!a} holds half a surrogate pair; repair its encoding.") from None
    return list(tokenizer.encode(text, add_special_tokens=False))
