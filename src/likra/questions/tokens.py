"""Tokens of a (context, completion) pair, split at the boundary as lm-evaluation-harness splits it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from likra.errors import InputError


@dataclass(frozen=True)
class TokenPair:
    """Token ids of one context and one completion.

    Attributes:
        context: Ids of the context; at least one (the BOS, or EOS, token stands for an empty context).
        completion: Ids of the completion; at least one.
        cut: How many ids were cut from the left of the context to fit the model.
        right: In training: whether the completion is to become likely. False: its tokens are to become unlikely, by
            unlikelihood training (Welleck et al. 2020, arXiv 1908.04319), the rival that `likra.study.rivals` trains.
    """

    context: tuple[int, ...]
    completion: tuple[int, ...]
    cut: int = 0
    right: bool = True

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads: all but the last id, which is only predicted."""
        return (self.context + self.completion)[:-1]


def encode_pairs(tokenizer: Any, context: str, completions: Sequence[str], max_length: int) -> list[TokenPair]:
    """Tokenize the completions of one context for a model that reads at most `max_length` tokens.

    As `TemplateLM._encode_pair` and `loglikelihood` of lm-evaluation-harness 0.4.13 do it: trailing spaces of the
    context move to the completion; context and completion are tokenized together, and the completion is what follows
    the context's own tokens. A pair that is too long loses tokens from the left of its context.

    Two cases are not the harness's. What the tokenizer puts after a text (an EOS, mostly) is never read or scored. And
    where a merge across the boundary makes the context's own tokens differ from the first ones of the whole, the
    harness reads the former and then the rest of the latter, which is another text. Here the whole text's tokens are
    read, and the completions of this context all begin where the first of them departs from the context's own tokens,
    at the latest after what stands before the text, so that their likelihoods cover the same text and can be compared.

    Raises:
        InputError: A completion has no tokens, is longer than the model can read, or has a symbol that the tokenizer
            does not know; or a text is no Unicode; or nothing can stand before a text that is scored from its start.
    """
    text = context.rstrip()
    wholes = [context + completion for completion in completions]
    before = added_before(tokenizer, text, *wholes)
    own = after(tokenizer, before, text)
    read = [after(tokenizer, before, whole) for whole in wholes]
    for ids, completion in zip(read, completions, strict=True):
        if ids == own:
            raise InputError(f"the completion {completion!r} has no tokens of its own; give it text.")
    depth = min(_common(own, ids) for ids in read)
    if not text or depth == 0:  # all is scored, so something has to stand before it
        before = before or [prefix_id(tokenizer)]
        read = [after(tokenizer, before, whole) for whole in wholes]
        depth = len(before)
    pairs = [_pair(tokenizer, ids, depth, part, max_length) for ids, part in zip(read, completions, strict=True)]
    contexts = {pair.context: pair.context for pair in pairs}  # long ones are kept once
    return [TokenPair(contexts[pair.context], pair.completion, pair.cut) for pair in pairs]


def encode_pair(tokenizer: Any, context: str, completion: str, max_length: int) -> TokenPair:
    """`encode_pairs` of one completion."""
    [pair] = encode_pairs(tokenizer, context, [completion], max_length)
    return pair


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

    A text that brings the last of them itself, be it after white space, does not get them twice.
    """
    own, before = _own_ids(tokenizer, text), list(before)
    for place in range(len(own) if before and before[-1] in own else 0):
        if brought := next((n for n in range(len(before), 0, -1) if own[place : place + n] == before[-n:]), 0):
            return before + own[place + brought :]
        if tokenizer.decode([own[place]]).strip():
            break
    return before + own


def _own_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of the text itself."""
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair
        raise InputError(f"the text {text[:40]!a} holds half a surrogate pair; repair its encoding.") from None
    return list(tokenizer.encode(text, add_special_tokens=False))


def _common(one: list[int], other: list[int]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _pair(tokenizer: Any, whole: list[int], depth: int, text: str, max_length: int) -> TokenPair:
    context, completion = whole[:depth], whole[depth:]
    if len(completion) > max_length:
        raise InputError(
            f"the completion {text[:40]!r}... has {len(completion)} tokens, longer than the model's context "
            f"of {max_length}; shorten it or use a model with a longer context."
        )
    # GPT-2's kin have one token for unknown, BOS and EOS, and know every byte.
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in special and tokenizer.unk_token_id in whole:
        raise InputError(_unknown_symbol(tokenizer, whole))
    cut = max(0, len(whole) - max_length - 1)
    return TokenPair(tuple(context[cut:]), tuple(completion), cut)


def common_ending(tokenizer: Any, contexts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The ids that all contexts end in, as far as they are of one line: those of "Answer:", say. May be empty."""
    ending = contexts[0]
    for context in contexts:
        length = min(len(ending), len(context))
        same = next((n for n in range(length) if ending[-1 - n] != context[-1 - n]), length)
        ending = ending[len(ending) - same :]
    lines = [place for place, token in enumerate(ending) if "\n" in tokenizer.decode([token])]
    return ending[lines[-1] + 1 :] if lines else ending


def prefix_id(tokenizer: Any) -> int:
    """The id that stands before a text that is scored from its start, where the tokenizer adds none: BOS, or EOS."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError(
        "the tokenizer has neither a BOS nor an EOS token, so nothing can be scored after an empty prompt, or after "
        "one that makes one token with its answer."
    )


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


def model_max_length(config: Any, tokenizer: Any) -> int:
    """The number of tokens a model can read, found as lm-evaluation-harness finds it (`resolve_max_length`)."""
    for owner in (getattr(config, "text_config", None), config):
        for name in ("n_positions", "max_position_embeddings", "n_ctx"):
            value = getattr(owner, name, None)
            if value is not None:
                return int(value)
    length = getattr(tokenizer, "model_max_length", None)
    return int(length) if length is not None and length < 10**9 else 2048


def _unknown_symbol(tokenizer: Any, ids: list[int]) -> str:
    at = ids.index(tokenizer.unk_token_id)
    before = tokenizer.decode(ids[max(0, at - 8) : at])
    return (
        f"the tokenizer has no symbol for what follows {before!r} (it becomes {tokenizer.unk_token}); remove it or use "
        "another model."
    )
