"""Generation against plain loops over PEFT's own models, brute force, and formulas by hand."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from scipy.stats import chisquare
from torch.nn import functional as F

from likra.data import Question
from likra.data.tokens import TokenizedExample, common_ending
from likra.engine.padded import PaddedReader
from likra.errors import InputError
from likra.generation import Contrast, Decoding, combined, generate
from likra.generation.text import wording
from likra.generation.twin import read_by
from likra.likra import Likra
from likra.models.adapters import write_adapter
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.scoring.scores import READERS, method_of
from likra.training.config import TrainingConfig
from likra.training.losses import Distillation
from likra.training.trainer import Trainer
from likra.utils.runtime import QUIET
from tests.conftest import ARCHITECTURES, tiny_base
from tests.engine.test_engine import perturb

BOTH = ("one", "two")
CONTRAST = Contrast(0.7, 0.05)


def stack_of(tokenizer: Any, architecture: str = "llama", **more: Any) -> HeadStack:
    stack = HeadStack(tiny_base(tokenizer, architecture), list(BOTH), lora=lora_config(r=4, lora_alpha=7), **more)
    perturb(stack)
    return stack


def prompts_of(tokenizer: Any, questions: list[Question]) -> list[list[int]]:
    return [tokenizer.encode(wording("qa", question.text)) for question in questions]


def by_hand(positive: torch.Tensor, negative: torch.Tensor, contrast: Contrast) -> torch.Tensor:
    """The scores of one row, token by token."""
    log_p, log_n = positive.double().log_softmax(-1), negative.double().log_softmax(-1)
    best = float(log_p.exp().max())
    return torch.tensor(
        [
            float(p + contrast.amount * (p - n)) if math.exp(p) >= contrast.plausibility * best else -math.inf
            for p, n in zip(log_p.tolist(), log_n.tolist(), strict=True)
        ]
    )


class Loop:
    """Next-token scores by full forward passes of two PEFT models, without any cache."""

    def __init__(self, stack: HeadStack, tokenizer: Any, architecture: str, folder: Path) -> None:
        self.models = []
        for name in BOTH:
            write_adapter(stack, name, folder / name)
            model = tiny_base(tokenizer, architecture).model
            self.models.append(PeftModel.from_pretrained(model, str(folder / name)).eval())

    @torch.no_grad()
    def scores(self, ids: list[int], contrast: Contrast = CONTRAST) -> torch.Tensor:
        positive, negative = (model(torch.tensor([ids])).logits[0, -1] for model in self.models)
        return by_hand(positive, negative, contrast)

    def greedy(self, prompt: list[int], tokens: int, ends: set[int]) -> list[int]:
        new: list[int] = []
        while len(new) < tokens and not (new and new[-1] in ends):
            new.append(int(self.scores(prompt + new).argmax()))
        return new


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_text_is_that_of_a_plain_loop(
    architecture: str, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    stack = stack_of(tokenizer, architecture)
    prompts = prompts_of(tokenizer, questions[:6])
    assert len({len(prompt) for prompt in prompts}) > 1  # rows of one batch are padded
    written = generate(stack.base, stack, BOTH, prompts, Decoding(max_tokens=12), CONTRAST)
    loop = Loop(stack, tokenizer, architecture, tmp_path)
    assert written == [[loop.greedy(prompt, 12, {0, 1})] for prompt in prompts]
    assert written != generate(stack.base, stack, BOTH[:1], prompts, Decoding(max_tokens=12))


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2"])
def test_heads_that_act_on_answers_only_are_peft_s_activated_lora(
    architecture: str, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    prompts = prompts_of(tokenizer, questions[:4])
    ending = common_ending(tokenizer, [tuple(prompt) for prompt in prompts])
    stack = stack_of(tokenizer, architecture, adapt="completion", invocation_tokens=ending)
    written = generate(stack.base, stack, BOTH, prompts, Decoding(max_tokens=10), CONTRAST)
    loop = Loop(stack, tokenizer, architecture, tmp_path)
    assert written == [[loop.greedy(prompt, 10, {0, 1})] for prompt in prompts]
    # Without any padding `generate` passes no mask.
    assert generate(stack.base, stack, BOTH, prompts[:1] * 2, Decoding(max_tokens=10), CONTRAST) == written[:1] * 2
    # Heads that are not woken by tokens act from the prompt's last one on, as they do in scoring.
    other = stack_of(tokenizer, architecture, adapt="completion")
    [[new]] = generate(other.base, other, BOTH[:1], prompts[:1], Decoding(max_tokens=4))
    ids = [*prompts[0], *new]
    for place in range(len(new)):
        read = ids[: len(prompts[0]) + place]
        with torch.no_grad(), other.active([("one", len(prompts[0]) - 1, len(read))], len(read)):
            assert int(other.base.model(torch.tensor([read])).logits[0, -1].argmax()) == new[place]


def test_the_base_writes_what_transformers_writes(tokenizer: Any, questions: list[Question]) -> None:
    stack = stack_of(tokenizer)
    [prompt] = prompts_of(tokenizer, questions[:1])
    [[new]] = generate(stack.base, stack, (BASE,), [prompt], Decoding(max_tokens=10))
    plain = tiny_base(tokenizer).model.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False)
    assert plain[0, len(prompt) : len(prompt) + len(new)].tolist() == new
    # And afterwards the model is as it was.
    assert "forward" not in vars(stack.base.model)


def test_beams_find_what_brute_force_finds(tokenizer: Any, questions: list[Question], tmp_path: Path) -> None:
    stack = stack_of(tokenizer)
    loop = Loop(stack, tokenizer, "llama", tmp_path)
    contrast = Contrast(0.7, 0.3)  # few tokens are plausible, so that all texts of three can be tried
    for prompt in prompts_of(tokenizer, questions[:3]):
        found: dict[tuple[int, ...], float] = {}

        def search(new: tuple[int, ...], total: float, prompt: list[int] = prompt, found: Any = found) -> None:
            if len(new) == 3 or (new and new[-1] in (0, 1)):
                found[new] = total / len(new)
                return
            log_probs = loop.scores([*prompt, *new], contrast).log_softmax(-1)
            for token in log_probs.isfinite().nonzero().flatten().tolist():
                search((*new, token), total + float(log_probs[token]))

        search((), 0.0)
        best = sorted(found, key=lambda new: -found[new])
        [texts] = generate(
            stack.base, stack, BOTH, [prompt], Decoding(max_tokens=3, beams=64, answers=min(3, len(best))), contrast
        )
        assert [tuple(new) for new in texts] == best[: len(texts)]
        # Beams that carried another beam's keys and values would go astray after the second token.
        assert len(best) > 3


def test_draws_follow_the_combined_distribution(tokenizer: Any, questions: list[Question], tmp_path: Path) -> None:
    stack = stack_of(tokenizer)
    [prompt] = prompts_of(tokenizer, questions[:1])
    loop = Loop(stack, tokenizer, "llama", tmp_path)
    draws = 2000
    decoding = Decoding(max_tokens=1, answers=draws, temperature=0.8, seed=3)
    [texts] = generate(stack.base, stack, BOTH, [prompt], decoding, CONTRAST)
    seen = np.bincount([new[0] for new in texts], minlength=320)

    def fits(contrast: Contrast, temperature: float) -> bool:
        expected = loop.scores(prompt, contrast).double().div(temperature).softmax(-1).numpy()
        some = expected > 0
        return not seen[~some].any() and chisquare(seen[some], draws * expected[some]).pvalue > 1e-3

    assert fits(CONTRAST, 0.8)
    # And the test would see it if temperature, contrast or cut-off were others.
    for other, temperature in (
        (CONTRAST, 1.2),
        (Contrast(0, 0.05), 0.8),
        (Contrast(2.5, 0.05), 0.8),
        (Contrast(0.7, 0.2), 0.8),
    ):
        assert not fits(other, temperature)
    assert generate(stack.base, stack, BOTH, [prompt], decoding, CONTRAST) == [texts]
    before = torch.random.get_rng_state()
    generate(stack.base, stack, BOTH, [prompt], decoding, CONTRAST)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_top_p_leaves_the_likeliest(tokenizer: Any, questions: list[Question]) -> None:
    stack = stack_of(tokenizer)
    prompts = prompts_of(tokenizer, questions[:4])
    drawn = generate(stack.base, stack, BOTH, prompts, Decoding(8, 1, 1.0, top_p=1e-6), CONTRAST)
    assert drawn == generate(stack.base, stack, BOTH, prompts, Decoding(8), CONTRAST)


def test_little_memory_changes_no_greedy_text(tokenizer: Any, questions: list[Question]) -> None:
    stack = stack_of(tokenizer)
    prompts = prompts_of(tokenizer, questions)
    seen: list[int] = []
    small = generate(stack.base, stack, BOTH, prompts, Decoding(8), CONTRAST, memory=4_000_000, progress=seen.append)
    assert len(seen) > 1 and seen[-1] == len(prompts)
    assert small == generate(stack.base, stack, BOTH, prompts, Decoding(8), CONTRAST)


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=6),
    st.lists(st.floats(-20, 20), min_size=2, max_size=6),
    st.floats(0, 5),
    st.floats(0, 1),
)
def test_scores_by_hand(positive: list[float], negative: list[float], amount: float, plausibility: float) -> None:
    size = min(len(positive), len(negative))
    one, two = torch.tensor(positive[:size]), torch.tensor(negative[:size])
    contrast = Contrast(amount, plausibility)
    scores, expected = combined(one[None], two[None], contrast)[0], by_hand(one, two, contrast)
    both = scores.isfinite() & expected.isfinite()
    torch.testing.assert_close(scores[both], expected[both].float(), rtol=1e-4, atol=1e-4)
    # At the very edge of what is plausible rounding decides.
    edge = (one.double().log_softmax(-1) - one.double().log_softmax(-1).max()).exp() - plausibility
    assert ((scores.isfinite() == expected.isfinite()) | (edge.abs() < 1e-5)).all()
    assert scores[one.argmax()].isfinite()


def test_impossible_tokens_stay_so_and_make_no_others_certain() -> None:
    inf = math.inf
    positive, negative = torch.tensor([[1.0, -inf, 0.5, -inf]]), torch.tensor([[0.0, 0.0, -inf, -inf]])
    for amount in (0.0, 1.0, 3.0):
        scores = combined(positive, negative, Contrast(amount, 0.0))[0]
        assert not scores.isnan().any() and scores[[1, 3]].isneginf().all() and scores[[0, 2]].isfinite().all()


def test_positions_of_several_parts_are_repeated_by_row(tokenizer: Any) -> None:
    """As models that read images have them: [parts, rows, tokens]."""
    stack = stack_of(tokenizer)
    model = stack.base.model
    seen: list[torch.Tensor] = []
    own = model.forward

    def forward(**inputs: Any) -> Any:
        seen.append(inputs.pop("position_ids"))
        return own(**inputs)

    model.forward = forward  # type: ignore[method-assign]
    ids = torch.tensor([[5, 6, 7]] * 3)
    positions = torch.arange(27).reshape(3, 3, 3)
    with read_by(stack.base, stack, BOTH, lambda logits: logits[0]):
        model(input_ids=ids, position_ids=positions)
    assert model.forward is forward  # type: ignore[comparison-overlap]
    assert torch.equal(seen[0], torch.cat([positions, positions], dim=1))


def test_heads_stay_where_there_is_no_memory_for_more(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(tokenizer)
    digest = stack.digest("one")

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("likra.models.stack.StackedLora.__init__", full)
        with pytest.raises(MemoryError):
            stack.rebuilt([*BOTH, "three"], 8)
    assert stack.digest("one") == digest
    assert generate(stack.base, stack, BOTH, [[5, 6]], Decoding(2))
    rebuilt = stack.rebuilt([*BOTH, "three"], 8)
    assert rebuilt.digest("one") == digest and rebuilt.same("three", None)


def test_a_search_gives_each_text_once(likra: Likra) -> None:
    for contrast in (Contrast(1.0, 0.5), Contrast(1.0, 1.0)):
        [texts] = likra.generate("?", decoding=Decoding(6, 4, beams=4), contrast=contrast, runtime=QUIET)
        assert 1 <= len(texts) == len(set(texts)) <= 4
    assert len(texts) == 1  # nothing but the likeliest token was plausible


def test_what_is_written_ends_with_its_line(likra: Likra, questions: list[Question]) -> None:
    """Also in a row that ended before others of its batch."""
    assert likra.stack is not None
    tokenizer = likra.base.tokenizer
    prompts = prompts_of(tokenizer, questions) * 8
    written = generate(likra.base, likra.stack, ("positive",), prompts, Decoding(40, 1, 2.0), one_line=True)
    breaks = [["\n" in tokenizer.decode([token]) for token in new] for [new] in written]
    assert sum(any(some) for some in breaks) > 2
    assert not any(any(some[:-1]) for some in breaks)


def test_heads_that_agree_change_nothing() -> None:
    logits = torch.randn(3, 7)
    same = combined(logits, logits, Contrast(3.0, 0.0))
    torch.testing.assert_close(same, logits.log_softmax(-1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"answers": 2},
        {"temperature": -1},
        {"temperature": math.nan},
        {"top_p": 0},
        {"max_tokens": 0},
        {"beams": 2, "temperature": 1.0},
        {"seed": 10**14},
        {"seed": -1},
    ],
)
def test_decodings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Decoding(**wrong)


def test_contrasts_that_make_no_sense_are_refused() -> None:
    for wrong in ({"amount": -1}, {"amount": math.inf}, {"plausibility": 2}):
        with pytest.raises(InputError, match=r"must (be|lie)"):
            Contrast(**wrong)


def test_a_prompt_that_is_too_long_is_refused(tokenizer: Any) -> None:
    stack = stack_of(tokenizer)
    with pytest.raises(InputError, match="the model reads 128"):
        generate(stack.base, stack, BOTH, [[5] * 120], Decoding(max_tokens=9))


@pytest.fixture
def likra(tokenizer: Any, questions: list[Question]) -> Likra:
    likra = Likra.from_base(
        tiny_base(tokenizer), training_config=TrainingConfig(lora=lora_config(r=4, lora_alpha=6), learning_rate=1e-2)
    )
    return likra.fit(questions, runtime=QUIET)


def test_the_merged_adapter_is_the_sum_of_the_updates(likra: Likra, tokenizer: Any, tmp_path: Path) -> None:
    likra.merge(tmp_path / "merged", contrast=Contrast(0.5))
    assert likra.stack is not None
    model = PeftModel.from_pretrained(tiny_base(tokenizer).model, str(tmp_path / "merged")).merge_and_unload()
    plain = dict(tiny_base(tokenizer).model.named_modules())
    scaling = 6 / 4
    for path, (a, b) in likra.stack.weights("positive").items():
        minus_a, minus_b = likra.stack.weights("negative")[path]
        update = 1.5 * scaling * b @ a - 0.5 * scaling * minus_b @ minus_a
        found = model.get_submodule(path).weight - plain[path].weight
        assert update.abs().max() > 1e-3
        torch.testing.assert_close(found, update, atol=1e-5, rtol=1e-4)


def test_the_divergence_by_hand(tokenizer: Any, tmp_path: Path) -> None:
    stack = stack_of(tokenizer).rebuilt([*BOTH, "student"], 4)
    pairs = [TokenizedExample((0, 5, 6, 7), (8, 9)), TokenizedExample((0, 9), (3, 4, 5))]
    loss = Distillation(PaddedReader(stack.base, stack), BOTH, lambda one, other: combined(one, other, CONTRAST))
    [step] = Trainer(stack, {"student": pairs}, TrainingConfig(), losses={"student": loss}, reader=loss.reader).run()
    loop, plain = Loop(stack, tokenizer, "llama", tmp_path), tiny_base(tokenizer).model
    total = 0.0
    for pair in pairs:
        for place in range(len(pair.completion)):
            ids = [*pair.context, *pair.completion[:place]]
            taught = loop.scores(ids).double().softmax(-1)
            with torch.no_grad():
                said = plain(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)  # a new head is the base
            total += sum(float(t * (t.log() - s)) for t, s in zip(taught, said, strict=True) if t > 0)
    assert step.losses["student"] == pytest.approx(total / 5, rel=1e-4)


def test_a_distillation_that_diverges_is_refused(likra: Likra, questions: list[Question], tmp_path: Path) -> None:
    assert likra.stack is not None
    before = {name: likra.stack.digest(name) for name in likra.heads}
    with pytest.raises(InputError, match="lower learning_rate"):
        likra.distill(
            [question.text for question in questions[:8]],
            tmp_path / "one",
            training_config=TrainingConfig(learning_rate=1e30, num_train_epochs=3),
            decoding=Decoding(6, 4, 1.0),
            runtime=QUIET,
        )
    assert not (tmp_path / "one").exists()
    assert likra.stack is not None
    assert {name: likra.stack.digest(name) for name in likra.heads} == before


def test_what_is_distilled_says_what_the_two_say(
    likra: Likra, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    assert likra.stack is not None
    before = {name: likra.stack.digest(name) for name in likra.heads}
    texts, held_out = [question.text for question in questions[:8]], questions[8:]
    losses = likra.distill(
        texts,
        tmp_path / "one",
        training_config=TrainingConfig(learning_rate=1e-2, num_train_epochs=30),
        decoding=Decoding(6, 4, 1.0),
        runtime=QUIET,
    )
    # A cut-off cannot be learned to the end: every token that is not plausible keeps some probability.
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
    with pytest.raises(InputError, match="limit must be 1 or more, got 0"):
        likra.distill(texts, tmp_path / "none", limit=0)
    # The two heads are what they were, and still there.
    assert likra.stack.names == ["positive", "negative"]
    assert {name: likra.stack.digest(name) for name in likra.heads} == before

    likra.merge(tmp_path / "merged")
    prompts = prompts_of(tokenizer, held_out)
    divergence = {}
    with torch.no_grad():
        said = [likra.stack.base.model]
        taught = []
        for prompt in prompts:
            logits = []
            for name in likra.heads:
                with likra.stack.active([(name, 0, len(prompt))], len(prompt)):
                    logits.append(said[0](torch.tensor([prompt])).logits[:, -1])
            taught.append(combined(*logits, Contrast()).softmax(-1))
        for folder in ("one", "merged"):
            model = PeftModel.from_pretrained(tiny_base(tokenizer).model, str(tmp_path / folder)).eval()
            divergence[folder] = np.mean(
                [
                    float(F.kl_div(model(torch.tensor([p])).logits[:, -1].log_softmax(-1), t, reduction="sum"))
                    for p, t in zip(prompts, taught, strict=True)
                ]
            )
    assert divergence["one"] < divergence["merged"]


def test_methods_are_those_that_the_heads_allow(tokenizer: Any, questions: list[Question], tmp_path: Path) -> None:
    for role, default, lacking in (
        ("sft-likra", ("positive", "negative"), ()),
        ("base-likra", (BASE, "negative"), ("likra", "sft")),
        ("sft", ("positive",), ("likra", "base_likra")),
    ):
        likra = Likra.from_base(tiny_base(tokenizer), role=role).fit(questions, runtime=QUIET)
        assert READERS[method_of(likra.heads)] == default
        for method in lacking:
            with pytest.raises(InputError, match="must be one of"):
                likra.generate("?", method=method)
        if role == "sft":
            with pytest.raises(InputError, match="need a negative head"):
                likra.merge(tmp_path / "no")


def test_the_best_of_n_is_the_best_ranked_of_what_the_base_wrote(likra: Likra, questions: list[Question]) -> None:
    decoding = Decoding(max_tokens=5, answers=6, temperature=1.0, seed=4)
    text = questions[0].text
    picked = likra.pick(text, decoding=decoding, runtime=QUIET)
    [written] = likra.generate(text, method="base", decoding=decoding, runtime=QUIET)
    choices = {one.strip() for one in written if one.strip()}
    assert {candidate.text for candidate in picked} == choices and len(picked) == len(choices)
    assert picked == likra.rank(text, [candidate.text for candidate in picked])
    assert all(one.score >= other.score for one, other in itertools.pairwise(picked))


def test_answers_of_one_line_end_with_it(likra: Likra, questions: list[Question]) -> None:
    texts = likra.generate(
        [question.text for question in questions],
        decoding=Decoding(max_tokens=40, temperature=2.0),
        contrast=Contrast(0, 0),
        runtime=QUIET,
    )
    assert not any("\n" in text for [text] in texts)
    likra.style = "verbatim"
    [several] = likra.generate("a", decoding=Decoding(40, 60, 2.0), contrast=Contrast(0, 0), runtime=QUIET)
    assert any("\n" in text for text in several)


def test_heads_that_fill_in_blanks_write_nothing(likra: Likra) -> None:
    likra.style = "cloze"
    with pytest.raises(InputError, match="blanks"):
        likra.generate("a _ b")
