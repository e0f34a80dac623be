"""Tokens of a (context, completion) pair, split at the boundary as lm-evaluation-harness splits it."""

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
    """

    context: tuple[int, ...]
    completion: tuple[int, ...]
    cut: int = 0

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads: all but the last id, which is only predicted."""
        return (self.context + self.completion)[:-1]


def encode_pair(tokenizer: Any, context: str, completion: str, max_length: int) -> TokenPair:
    """Tokenize one pair for a model that reads at most `max_length` tokens.

    This is `TemplateLM._encode_pair` and `loglikelihood` of lm-evaluation-harness 0.4.13: trailing spaces of the
    context move to the completion; context and completion are tokenized together, and the completion is what follows
    the first `len(tokens of the context)` ids. Where merges across the boundary make the context's own ids differ from
    the first ids of the whole, the harness reads the context's own ids, and so do we. A pair that is too long loses
    ids from the left of its context.

    Raises:
        InputError: The completion has no tokens, is longer than the model can read, or has a symbol that the tokenizer
            does not know.
    """
    if not context:
        completion_ids = tokenizer.encode(completion, add_special_tokens=False)
        context_ids = [prefix_id(tokenizer)]
        if completion_ids[:1] == context_ids:
            completion_ids = completion_ids[1:]
    else:
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, completion = context[:-spaces], context[-spaces:] + completion
        # A text that opens with the tokenizer's own BOS must not get a second one.
        has_bos = context.startswith(tokenizer.decode(prefix_id(tokenizer)))
        special = {"add_special_tokens": False} if has_bos else {}
        context_ids = tokenizer.encode(context, **special)
        completion_ids = tokenizer.encode(context + completion, **special)[len(context_ids) :]
    if not completion_ids:
        raise InputError(f"the completion {completion!r} has no tokens of its own; give it text.")
    if len(completion_ids) > max_length:
        raise InputError(
            f"the completion {completion[:40]!r}... has {len(completion_ids)} tokens, longer than the model's context "
            f"of {max_length}; shorten it or use a model with a longer context."
        )
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in (*context_ids, *completion_ids):
        raise InputError(_unknown_symbol(tokenizer, context + completion))
    cut = max(0, len(context_ids) + len(completion_ids) - max_length - 1)
    return TokenPair(tuple(context_ids[cut:]), tuple(completion_ids), cut)


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


def _unknown_symbol(tokenizer: Any, text: str) -> str:
    odd = next((word for word in text.split() if tokenizer.unk_token_id in tokenizer.encode(word)), text[:40])
    return (
        f"the tokenizer has no symbol for {odd!r} (it becomes {tokenizer.unk_token}); remove it or use another model."
    )
