"""Tokens at the boundary of prompt and answer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

from likra.data import encode_pair, encode_pairs, model_max_length
from likra.errors import InputError


@given(context=st.text(max_size=30), completions=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_context_and_completion_together_are_the_text(tokenizer: Any, context: str, completions: list[str]) -> None:
    pairs = encode_pairs(tokenizer, context, completions, 4096)
    assert len({pair.context for pair in pairs}) == 1  # one reading serves all
    for pair, completion in zip(pairs, completions, strict=True):
        assert tokenizer.decode(pair.context + pair.completion, skip_special_tokens=True) == context + completion
        assert pair.context and pair.completion and pair.cut == 0


def test_spaces_at_the_end_of_the_context_move_to_the_completion(tokenizer: Any) -> None:
    assert encode_pair(tokenizer, "Answer: ", "goat", 64) == encode_pair(tokenizer, "Answer:", " goat", 64)


def test_a_text_with_its_own_bos_gets_no_second(tokenizer: Any) -> None:
    assert encode_pair(tokenizer, "<s>Answer:", " goat", 64) == encode_pair(tokenizer, "Answer:", " goat", 64)
    assert encode_pair(tokenizer, "", "<s> goat", 64) == encode_pair(tokenizer, "", " goat", 64)


def test_an_empty_context_is_bos(tokenizer: Any) -> None:
    assert encode_pair(tokenizer, "", " goat", 64).context == (0,)


def test_cut_from_the_left(tokenizer: Any) -> None:
    whole = encode_pair(tokenizer, "one two three four", " five six", 64)
    total = len(whole.context) + len(whole.completion)
    cut = encode_pair(tokenizer, "one two three four", " five six", total - 4)
    assert cut.cut == 3 and cut.context == whole.context[3:] and cut.completion == whole.completion
    assert len(cut.inputs) == total - 4


def test_refusals(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="has no tokens of its own"):
        encode_pair(tokenizer, "Answer:", "", 64)
    with pytest.raises(InputError, match="longer than the model's context of 8"):
        encode_pair(tokenizer, "Answer:", " goat" * 20, 8)


def test_an_unknown_symbol_is_refused() -> None:
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[BOS]": 1, "goat": 2, "owl": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", bos_token="[BOS]")
    assert encode_pair(words, "goat", " owl", 64).completion == (3,)
    with pytest.raises(InputError, match=r"no symbol for what follows 'goat' \(it becomes \[UNK\]\)"):
        encode_pair(words, "goat", " zebra", 64)


@pytest.mark.parametrize("adds_bos", [False, True])
def test_one_token_for_unknown_bos_and_eos_is_no_unknown_symbol(adds_bos: bool, tokenizer: Any) -> None:
    """GPT-2, GPT-NeoX and OPT are made so."""
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        unk_token="</s>", bos_token="</s>", eos_token="</s>",
    )  # fmt: skip
    if adds_bos:
        other.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="</s> $A", special_tokens=[("</s>", 1)]
        )
    else:
        other.backend_tokenizer.post_processor = processors.Sequence([])
    assert encode_pair(other, "", " goat", 64).context == (1,)
    assert len(encode_pair(other, "Answer:", " goat", 64).completion) > 0


def test_only_an_empty_prompt_needs_a_token_to_stand_for_it() -> None:
    backend = Tokenizer(models.WordLevel({"goat": 0, "owl": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    bare = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert encode_pair(bare, "goat", " owl", 64).completion == (1,)
    with pytest.raises(InputError, match="neither a BOS nor an EOS token"):
        encode_pair(bare, "", " owl", 64)


def test_the_length_of_a_model(tokenizer: Any) -> None:
    assert model_max_length(LlamaConfig(max_position_embeddings=77), tokenizer) == 77


def test_half_a_surrogate_pair_is_refused(tokenizer: Any) -> None:
    for context, completion in (("\ud800 a", " b"), ("a", " \udfff")):
        with pytest.raises(InputError, match="half a surrogate pair"):
            encode_pair(tokenizer, context, completion, 128)
