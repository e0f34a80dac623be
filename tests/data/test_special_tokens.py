"""What stands before and after a text, the boundary of prompt and answer, tokens that a model does not know.

Expected ids come from the `tokenizers` library, expected likelihoods from a plain forward pass.
"""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from likra import Likra
from likra.data import Example, Prompter, Question, encode_pair, encode_pairs
from likra.data.templates import TEMPLATES, word
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.generation import Decoding
from likra.generation.text import prompt_ids
from likra.mining.sampling import Sampler
from likra.models.base import Base, as_base, load_base
from likra.serve.app import create_app
from likra.utils.runtime import QUIET
from tests.conftest import VOCABULARY, tiny_base

PIECES = (
    "Th",
    "The",
    "Three",
    "e",
    "ree",
    "cat",
    "cats",
    " ",
    "  ",
    "\n",
    "un",
    "til",
    "until",
    "der",
    "I",
    "'m",
    "'s",
)
CORPUS = [
    "The cat sat until the Three cats",
    "I'm under it",
    "Is it un der, cats?",
    "Question: The cat _ it?\nAnswer: A man",
] * 4
SPECIAL = ["<s>", "</s>", "<x>", "<unk>"]
BOS, EOS, OTHER, UNKNOWN = range(4)
#: What post-processors put before a text and after it.
PROCESSORS: dict[str, tuple[list[int], list[int]]] = {
    "none": ([], []),
    "bos": ([BOS], []),
    "eos": ([], [EOS]),
    "both": ([BOS], [EOS]),
    "unnamed": ([OTHER], [EOS]),  # as BERT's [CLS]: neither BOS nor EOS by name
    "two": ([OTHER, BOS], [EOS, EOS]),
}


def _bpe(trainer: dict[str, Any], **model: Any) -> tuple[Tokenizer, Any]:
    return Tokenizer(models.BPE(**model)), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL + trainer.pop("more", []), show_progress=False, **trainer
    )


def gpt2() -> tuple[Tokenizer, Any]:
    backend, trainer = _bpe({"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()})
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend, trainer


def qwen() -> tuple[Tokenizer, Any]:
    backend, trainer = gpt2()
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return backend, trainer


def superword() -> tuple[Tokenizer, Any]:
    """Merges across spaces."""
    backend, trainer = gpt2()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return backend, trainer


def llama() -> tuple[Tokenizer, Any]:
    backend, trainer = _bpe({"more": [f"<0x{n:02X}>" for n in range(256)]}, byte_fallback=True, unk_token="<unk>")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend, trainer


def gemma() -> tuple[Tokenizer, Any]:
    backend, trainer = llama()
    backend.normalizer = normalizers.Replace(" ", "▁")
    return backend, trainer


def metaspace() -> tuple[Tokenizer, Any]:
    backend, trainer = llama()
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return backend, trainer


def t5() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend, trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )


def bert() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False)


def characters() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return backend, trainers.WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False)


FAMILIES: dict[str, Callable[[], tuple[Tokenizer, Any]]] = {
    each.__name__: each for each in (gpt2, qwen, superword, llama, gemma, metaspace, t5, bert, characters)
}


@functools.cache
def trained(family: str) -> str:
    backend, trainer = FAMILIES[family]()
    backend.train_from_iterator([*CORPUS, *PIECES, *("".join((a, b)) for a in PIECES for b in PIECES)], trainer)
    assert backend.get_vocab_size() <= VOCABULARY
    return str(backend.to_str())


@functools.cache
def made(family: str, processor: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(trained(family))
    before, after = PROCESSORS[processor]
    template = " ".join([*(SPECIAL[n] for n in before), "$A", *(SPECIAL[n] for n in after)])
    backend.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(SPECIAL[n], n) for n in {*before, *after}]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@functools.cache
def the_model() -> Any:
    return tiny_base(made("gpt2", "bos")).model


@functools.cache
def based(family: str, processor: str) -> Base:
    return as_base(the_model(), made(family, processor))


def own_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


def common(lists: list[list[int]]) -> int:
    return next((n for n, ids in enumerate(zip(*lists, strict=False)) if len(set(ids)) > 1), min(map(len, lists)))


def plain(sequence: list[int], start: int) -> float:
    """Log-likelihood of what a sequence has from a place on, by a forward pass."""
    with torch.no_grad():
        logits_TV = the_model()(torch.tensor([sequence])).logits[0].log_softmax(-1)
    return float(sum(logits_TV[n - 1, sequence[n]] for n in range(start, len(sequence))))


texts = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    family=st.sampled_from(list(FAMILIES)),
    processor=st.sampled_from(list(PROCESSORS)),
    context=texts,
    completions=st.lists(texts.filter(bool), min_size=1, max_size=3),
    ending=st.sampled_from(["", "", "</s>"]),
)
def test_likelihoods_are_those_of_the_own_tokens(
    family: str, processor: str, context: str, completions: list[str], ending: str
) -> None:
    base = based(family, processor)
    completions = [completion + ending for completion in completions]  # typed by the user, it is the text's own
    wholes = [own_ids(base.tokenizer, context + completion) for completion in completions]
    own = own_ids(base.tokenizer, context.rstrip())
    question = Question("q", context, tuple(completions))
    if own in wholes:
        with pytest.raises(InputError, match="has no tokens of its own"):
            score(base, None, [question], Prompter("verbatim"))
        return
    before = PROCESSORS[processor][0]
    depth = common([own, *wholes])
    if not before and depth == 0:
        before = [BOS]
    table = score(base, None, [question], Prompter("verbatim"))
    for place, whole in enumerate(wholes):
        expected = plain(before + whole, len(before) + depth)
        assert table.logprob_HQC[0, 0, place] == pytest.approx(expected, abs=2e-4)
        assert table.tokens_QC[0, place] == len(whole) - depth
    # A prompt for writing is the same, but for new lines at its end.
    prompt = prompt_ids(base, context)
    written = own_ids(base.tokenizer, context.rstrip(" "))
    assert prompt == (PROCESSORS[processor][0] or ([] if context.strip() else [BOS])) + written


@pytest.mark.parametrize("family", FAMILIES)
def test_every_style_scores_the_same_with_an_eos_behind(family: str) -> None:
    """Where the same stands before a text, what is put after it changes nothing, in any style."""
    for style in TEMPLATES:
        if style == "truthfulqa" or TEMPLATES[style].chosen:
            continue  # their symbols are not in these small vocabularies, which have no chat template
        question = Question("q", "" if style == "empty" else "The cat _ it", ("sat", "sat un der"))
        mine, plainly = (score(based(family, name), None, [question], Prompter(style)) for name in ("both", "bos"))
        assert (mine.logprob_HQC == plainly.logprob_HQC).all() and (mine.tokens_QC == plainly.tokens_QC).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_text_with_its_own_beginning_gets_no_second(family: str, processor: str) -> None:
    tokenizer = made(family, processor)
    before = PROCESSORS[processor][0] or [BOS]
    brought = SPECIAL[before[-1]]
    for context, completion in (("The cat", " sat"), ("", "cat sat"), ("", "\n")):
        try:
            bare = encode_pair(tokenizer, context, completion, 99)
        except InputError:
            assert completion == "\n"  # white space is nothing to some
            continue
        for blank in ("", " ", "\n"):
            if blank and context and not PROCESSORS[processor][0]:
                continue  # where nothing is put before a text, it is read as it is
            front = f"{blank}{brought}"
            pair = encode_pair(
                tokenizer, front + context if context else "", completion if context else front + completion, 99
            )
            ids = list(pair.context + pair.completion)
            assert ids[: len(before)] == before and not set(before) & set(ids[len(before) :]) and EOS not in ids
            # Some put a space before a text, but not after a special token.
            if family not in ("llama", "metaspace", "t5") and (PROCESSORS[processor][0] or not context):
                assert pair == bare
                base = based(family, processor)
                if context:
                    assert prompt_ids(base, front + context) == prompt_ids(base, context)


def test_a_post_processor_may_change_between_calls() -> None:
    """transformers changes it where `add_eos_token` is set."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(made("gpt2", "none").backend_tokenizer.to_str()), bos_token="<s>"
    )
    for processor, (before, _) in PROCESSORS.items():
        tokenizer.backend_tokenizer.post_processor = made("gpt2", processor).backend_tokenizer.post_processor
        pair = encode_pair(tokenizer, "The cat", " sat", 99)
        assert list(pair.context) == before + own_ids(tokenizer, "The cat")
        assert list(pair.completion) == own_ids(tokenizer, " sat")


def test_a_tokenizer_in_python_that_ends_texts() -> None:
    tokenizer = ByT5Tokenizer()
    assert tokenizer.encode("a")[1:] == [tokenizer.eos_token_id]
    pair = encode_pair(tokenizer, "ab", "c", 99)
    assert pair.context == (100, 101) and pair.completion == (102,)
    assert encode_pair(tokenizer, "", "c", 99).context == (tokenizer.eos_token_id,)  # it has no BOS


def test_an_unknown_letter_does_not_hide_what_stands_before() -> None:
    """The letter that is looked at first is an unknown symbol here, and that is the BOS."""
    backend = Tokenizer(models.WordLevel({"<s>": 0, "goat": 1, "owl": 2, "</s>": 3}, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 3)]
    )
    words = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<s>", bos_token="<s>", eos_token="</s>")
    pair = encode_pair(words, "goat", " owl", 64)
    assert pair.context == (0, 1) and pair.completion == (2,)


@pytest.mark.parametrize("processor", ["none", "eos"])
@pytest.mark.parametrize(
    ("context", "completions"),
    [("Th", ["e cat sat", "ree cats sat"]), ("un", ["til", "der"]), ("Th", ["e", " cat"]), ("I", ["'m", "s it"])],
)
def test_a_prompt_that_melts_into_its_answers(processor: str, context: str, completions: list[str]) -> None:
    """Of tokenizers without a BOS nothing but the first token of the whole may be left."""
    tokenizer = made("gpt2", processor)
    pairs = encode_pairs(tokenizer, context, completions, 99)
    assert len({pair.context for pair in pairs}) == 1
    for pair, completion in zip(pairs, completions, strict=True):
        kept = tokenizer.decode(pair.context, skip_special_tokens=True)
        assert context.startswith(kept) and kept + tokenizer.decode(pair.completion) == context + completion


# --- Tokens without an embedding ---------------------------------

ADDED = r"<\|im_start\|> has no embedding in tiny \(320 rows\); resize it"


@pytest.fixture
def widened(tokenizer: Any) -> Base:
    """A base whose tokenizer has got tokens that its model has no embeddings for, its padding token among them."""
    wider = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), bos_token="<s>", eos_token="</s>"
    )
    wider.add_tokens("<|im_start|>", special_tokens=True)
    wider.add_special_tokens({"pad_token": "<|pad|>"})
    assert wider.convert_tokens_to_ids("<|im_start|>") == VOCABULARY
    base = tiny_base(tokenizer)
    return as_base(base.model, wider, name="tiny")


GOOD = [Question(f"q{n}", f"Who{' ever' * (n % 3)} has {n} goats?", ("Ada", "an owl"), n % 2) for n in range(4)]


def with_heads(base: Base) -> Likra:
    return Likra.from_base(base, rank=2).fit(GOOD, runtime=QUIET)


def test_training_on_a_token_without_an_embedding_is_refused(widened: Base) -> None:
    likra = Likra.from_base(widened, rank=2)
    for example in (Example("<|im_start|>user", " a", True), Example("user", " a<|im_start|>", True)):
        with pytest.raises(InputError, match=f"example 1 of the positive head: {ADDED}"):
            likra.fit([example, Example("b", " b", False)], runtime=QUIET)
    shown = [*GOOD, Question("odd", "Who?", ("<|im_start|>", "an owl"), 0)]
    with pytest.raises(InputError, match=ADDED):
        likra.fit(shown, shots=4, runtime=QUIET)


def test_scoring_a_token_without_an_embedding_is_refused(widened: Base) -> None:
    likra = with_heads(widened)
    for question, choices in (("<|im_start|> who?", ["a", "b"]), ("Who?", ["a", "b <|im_start|>"])):
        with pytest.raises(InputError, match=ADDED):
            likra.score(question, choices)
    assert len(likra.score("Who?", ["a", "b"])) == 2
    shown = Prompter("qa", 1, [Question("odd", "<|im_start|>", ("x",), 0), *GOOD])
    with pytest.raises(InputError, match=ADDED):
        likra.likelihoods(GOOD, shown)


def test_a_served_token_without_an_embedding_is_the_callers_fault(widened: Base) -> None:
    body = {"query": "Who?", "documents": ["a", "b <|im_start|>"]}
    with TestClient(create_app({"tiny": with_heads(widened)})) as client:
        reply = client.post("/v1/rerank", json=body)
        assert reply.status_code == 422 and "<|im_start|> has no embedding" in reply.json()["detail"]
        assert client.post("/v1/rerank", json=body | {"documents": ["a", "b"]}).status_code == 200


def test_writing_after_a_token_without_an_embedding_is_refused(widened: Base) -> None:
    likra, few = with_heads(widened), Decoding(max_tokens=3)
    for write in (likra.generate, likra.pick):
        with pytest.raises(InputError, match=ADDED):
            write("<|im_start|> who?", decoding=few, runtime=QUIET)  # type: ignore[operator]
    with pytest.raises(InputError, match=ADDED):
        Sampler(widened, [Question("q", "<|im_start|> who?", ("Ada",), 0)], Prompter("qa"))
    # Prompts of different lengths are padded, with a token that the model has.
    prompts = ["Who?", "Who ever has a goat, an owl and a heron?"]
    together = likra.generate(prompts, decoding=few, runtime=QUIET)
    assert together == [likra.generate(prompt, decoding=few, runtime=QUIET)[0] for prompt in prompts]


def test_what_stands_before_a_text_needs_an_embedding_too(widened: Base) -> None:
    widened.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", VOCABULARY)]
    )
    with pytest.raises(InputError, match=ADDED):
        score(widened, None, GOOD, Prompter("qa"))
    widened.tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    widened.tokenizer.bos_token = "<|im_start|>"
    with pytest.raises(InputError, match=ADDED):
        score(widened, None, [Question("q", "", ("Ada", "an owl"))], Prompter("empty"))


def test_the_last_row_is_an_embedding(widened: Base) -> None:
    last = widened.tokenizer.convert_ids_to_tokens(VOCABULARY - 1)
    text = widened.tokenizer.convert_tokens_to_string([last])
    assert own_ids(widened.tokenizer, text) == [VOCABULARY - 1]
    widened.encode_pair("Who?", text)
    widened.model.resize_token_embeddings(VOCABULARY + 1)
    widened.encode_pair("Who?", "<|im_start|>")
    with pytest.raises(InputError, match=r"<\|pad\|> has no embedding in tiny \(321 rows\)"):
        widened.encode_pair("Who?", "<|pad|>")
    widened.model.resize_token_embeddings(512)  # padded: more rows than tokens
    widened.encode_pair("Who?", "<|pad|>")


def test_a_tokenizer_whose_files_are_lost_is_refused(model_folder: Path, tmp_path: Path) -> None:
    for number, kind in enumerate(("LlamaTokenizerFast", "GPT2TokenizerFast", "T5Tokenizer", "BertTokenizer")):
        folder = tmp_path / str(number)
        shutil.copytree(model_folder, folder)
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
        with pytest.raises(InputError, match=f"{number}: .*no vocabulary"):
            load_base(str(folder))


def test_a_vocabulary_of_added_tokens_is_one() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    backend.add_tokens(["goat", AddedToken("owl")])
    words = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<unk>")
    assert as_base(the_model(), words).encode_pair("goat", "owl").completion == (2,)


# --- One wording for what is one answer ---------------------------


@pytest.mark.parametrize("style", [style for style in TEMPLATES if not TEMPLATES[style].lists_options])
def test_answers_that_say_the_same_are_the_same_tokens(base: Base, style: str) -> None:
    question = "" if style == "empty" else "Where _ is"
    forms = ("caf\u00e9 au lait", "cafe\u0301 au lait", "caf\u00e9\u00a0au lait")
    if style != "verbatim":  # elsewhere the style itself sets the space between prompt and answer
        forms += (" caf\u00e9 au lait", "caf\u00e9 au lait \n", "\u200bcafe\u0301 au lait\u00a0")
    worded = {word(style, Question("q", question, forms), place) for place in range(len(forms))}
    assert len(worded) == 1
    assert word(style, Question("q", question, ("  Paris ",)), 0)[style != "cloze"].endswith(
        "  Paris " if style == "verbatim" else "Paris"
    )


def test_solved_examples_are_worded_alike() -> None:
    pools = [[Question(f"p{n}", "Who?", (form,), 0) for n in range(2)] for form in ("\u00e9", " e\u0301 ")]
    found = [Prompter("qa", 1, pool).pairs(Question("q", "Which?", ("a",)))[0][0] for pool in pools]
    assert found[0] == found[1] == "Question: Who?\nAnswer: \u00e9\n\nQuestion: Which?\nAnswer:"
