"""Checks that a tokenizer and a model fit each other and the text."""

from collections.abc import Sequence
from typing import Any

from likra.errors import InputError


def check_vocabulary(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that has no text among its tokens: transformers makes one where the files are lost.

    Raises:
        InputError: There are special tokens only.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special.update(tokenizer.all_special_tokens)
    if not any(any(map(str.isalnum, str(token))) for token in tokenizer.get_vocab() if token not in special):
        raise InputError(
            f"{name}: its tokenizer has no vocabulary but special tokens; its tokenizer.json (or vocabulary file) is "
            "missing or empty."
        )


def check_embedded(tokenizer: Any, ids: Sequence[int], rows: int, name: str) -> None:
    """Refuse ids that a model has no embedding for: of tokens that were added to its tokenizer only.

    Raises:
        InputError: One of the ids is `rows` or more.
    """
    beyond = next((token for token in ids if token >= rows), None)
    if beyond is not None:
        token = tokenizer.convert_ids_to_tokens(beyond) or f"token {beyond}"
        raise InputError(
            f"{token} has no embedding in {name} ({rows} rows); resize it (resize_token_embeddings), or use the "
            "tokenizer that it was trained with."
        )


def check_known(tokenizer: Any, ids: list[int]) -> None:
    """Refuse a text with a symbol that the tokenizer does not know.

    Raises:
        InputError: One of the ids is the token for unknown symbols, which has no other use.
    """
    # In GPT-2 and models like it one token means unknown, BOS and EOS, and every byte is known.
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id in special or tokenizer.unk_token_id not in ids:
        return
    at = ids.index(tokenizer.unk_token_id)
    before = tokenizer.decode(ids[max(0, at - 8) : at])
    raise InputError(
        f"the tokenizer has no symbol for what follows {before!r} (it becomes {tokenizer.unk_token}); remove it or use "
        "another model."
    )
