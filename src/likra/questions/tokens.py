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

    One case is not the harness's. Where a merge across the boundary makes the context's own tokens differ from the
    first ones of the whole, the harness reads the former and then the rest of the latter, which is another text. Here
    the whole text's tokens are read, and the completions of this context all begin where the first of them departs
    from the context's own tokens, so that their likelihoods cover the same text and can be compared.

    Raises:
        InputError: A completion has no tokens, is longer than the model can read, or has a symbol that the tokenizer
            does not know; or a text is no Unicode.
    """
    for part in (context, *completions):
        try:
            part.encode()
        except UnicodeEncodeError:  # JSON can escape half a surrogate pair
            raise InputError(f"the text {part[:40]!a} holds half a surrogate pair; repair its encoding.") from None
    text = context.rstrip()
    moved = context[len(text) :]
    if not text:
        prefix = prefix_id(tokenizer)
        wholes = [
            [prefix, *tokenizer.encode(moved + completion, add_special_tokens=False)] for completion in completions
        ]
        # A completion that brings its own BOS does not get a second one.
        wholes = [whole[1:] if whole[1:2] == [prefix] else whole for whole in wholes]
        depth = 1
    else:
        # A text that opens with the tokenizer's own BOS must not get a second one.
        has_bos = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        special = {"add_special_tokens": False} if has_bos else {}
        own = tokenizer.encode(text, **special)
        wholes = [tokenizer.encode(text + moved + completion, **special) for completion in completions]
        depth = min(_common(own, whole) for whole in wholes)
    pairs = [_pair(tokenizer, whole, depth, text, max_length) for whole, text in zip(wholes, completions, strict=True)]
    contexts = {pair.context: pair.context for pair in pairs}  # long ones are kept once
    return [TokenPair(contexts[pair.context], pair.completion, pair.cut) for pair in pairs]


def encode_pair(tokenizer: Any, context: str, completion: str, max_length: int) -> TokenPair:
    """`encode_pairs` of one completion."""
    [pair] = encode_pairs(tokenizer, context, [completion], max_length)
    return pair


def _common(one: list[int], other: list[int]) -> int:
    """Length of the longest common prefix; at least 1, for a completion is predicted from something."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(1, length)


def _pair(tokenizer: Any, whole: list[int], depth: int, text: str, max_length: int) -> TokenPair:
    context, completion = whole[:depth], whole[depth:]
    if not completion:
        raise InputError(f"the completion {text!r} has no tokens of its own; give it text.")
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
    """The id that stands for an empty context: BOS, or EOS where there is no BOS."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError("the tokenizer has neither a BOS nor an EOS token, so an empty prompt cannot be read.")


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
