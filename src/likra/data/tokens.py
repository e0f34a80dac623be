"""Tokens of a (context, completion) pair, split at the boundary as lm-evaluation-harness splits it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from likra.data.conversation import Context, Conversation, before_answer, rendered
from likra.data.special_tokens import added_before, after, prefix_id
from likra.data.vocabulary import check_known
from likra.errors import InputError


@dataclass(frozen=True)
class TokenizedExample:
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
        """The ids that the model reads: all but the last, which is only predicted."""
        return (self.context + self.completion)[:-1]


@dataclass(frozen=True)
class TokenizedQuestion:
    """Candidate answers of one question, which are learned from together.

    Attributes:
        candidates: Each with its context; two or more.
        right: The place of the right one.
    """

    candidates: tuple[TokenizedExample, ...]
    right: int = 0


def encode_pairs(
    tokenizer: Any, context: Context, completions: Sequence[str], max_length: int
) -> list[TokenizedExample]:
    """Tokenize the completions of one context for a model that reads at most `max_length` tokens.

    As `TemplateLM._encode_pair` and `loglikelihood` of lm-evaluation-harness 0.4.13 do it: trailing spaces of the
    context move to the completion; context and completion are tokenized together, and the completion is what follows
    the context's own tokens. A pair that is too long loses tokens from the left of its context.

    It differs from the harness in two cases. Tokens that the tokenizer puts after a text (an EOS, mostly) are never
    read or scored. And where a merge across the boundary makes the context's own tokens differ from the first ones of
    the whole, the harness reads the former and then the rest of the latter, which is another text. Here the whole
    text's tokens are read, and the completions of this context all begin where the first of them departs from the
    context's own tokens, at the latest after what stands before the text, so that their likelihoods cover the same text
    and can be compared.

    A conversation is tokenized as TRL's trainers do it, by transformers' `apply_chat_template`: the completion is the
    assistant's answer, and begins where the conversation with it departs from the prompt alone. What a chat template
    puts after the answer (the end of the turn) is left out.

    Raises:
        InputError: A completion has no tokens, is longer than the model can read, or has a symbol that the tokenizer
            does not know; a text is not Unicode; nothing can stand before a text that is scored from its start; or the
            tokenizer has no chat template for a conversation.
    """
    if isinstance(context, Conversation):
        # A chat template has all special tokens itself, and what it ends in (a new line, say) is part of the prompt.
        prompt, text = before_answer(tokenizer, context), rendered(tokenizer, context)
    else:
        prompt, text = context, context.rstrip()
    wholes = [prompt + completion for completion in completions]
    before = [] if isinstance(context, Conversation) else added_before(tokenizer, text, *wholes)
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
    return [TokenizedExample(contexts[pair.context], pair.completion, pair.cut) for pair in pairs]


def encode_pair(tokenizer: Any, context: Context, completion: str, max_length: int) -> TokenizedExample:
    """`encode_pairs` of one completion."""
    [pair] = encode_pairs(tokenizer, context, [completion], max_length)
    return pair


def _common(one: list[int], other: list[int]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _pair(tokenizer: Any, whole: list[int], depth: int, text: str, max_length: int) -> TokenizedExample:
    context, completion = whole[:depth], whole[depth:]
    if len(completion) > max_length:
        raise InputError(
            f"the completion {text[:40]!r}... has {len(completion)} tokens, longer than the model's context "
            f"of {max_length}; shorten it or use a model with a longer context."
        )
    check_known(tokenizer, whole)
    cut = max(0, len(whole) - max_length - 1)
    return TokenizedExample(tuple(context[cut:]), tuple(completion), cut)


def common_ending(tokenizer: Any, contexts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The ids that all contexts end in, as far as they are of one line: those of "Answer:", say. May be empty."""
    ending = contexts[0]
    for context in contexts:
        length = min(len(ending), len(context))
        same = next((n for n in range(length) if ending[-1 - n] != context[-1 - n]), length)
        ending = ending[len(ending) - same :]
    lines = [place for place, token in enumerate(ending) if "\n" in tokenizer.decode([token])]
    return ending[lines[-1] + 1 :] if lines else ending


def model_max_length(config: Any, tokenizer: Any) -> int:
    """The number of tokens a model can read, found as lm-evaluation-harness finds it (`resolve_max_length`)."""
    for owner in (getattr(config, "text_config", None), config):
        for name in ("n_positions", "max_position_embeddings", "n_ctx"):
            value = getattr(owner, name, None)
            if value is not None:
                return int(value)
    length = getattr(tokenizer, "model_max_length", None)
    return int(length) if length is not None and length < 10**9 else 2048
