"""Sampled answers: drawn from the model's own distribution, and the same whatever they are sampled with."""

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from likra.data import Prompter, Question, encode_pair
from likra.data.templates import word
from likra.engine import kernels
from likra.errors import InputError
from likra.generation.text import LineEnd, end_ids, prompt_ids
from likra.mining import sampling
from likra.mining.sampling import Sampler
from likra.models.base import Base
from tests.conftest import tiny_base

QA = Prompter("qa")


def sampler(base: Base, questions: list[Question], **options: Any) -> Sampler:
    return Sampler(base, questions, QA, **({"max_tokens": 6} | options))


@pytest.fixture(params=["cpu", "cuda"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A draw as on a CPU, and as on a GPU."""
    monkeypatch.setattr(sampling, "_GROUP", 8)
    monkeypatch.setattr(kernels, "kind_of", lambda device: request.param)
    return str(request.param)


def test_a_draw_follows_the_probabilities(kind: str) -> None:
    """Evenly spaced draws give each token its share; a formula of its own, not a model."""
    torch.manual_seed(0)
    logits = torch.randn(50) * 2
    count = 20_000
    draws_RN = ((torch.arange(count, dtype=torch.float64) + 0.5) / count)[:, None]
    for temperature in (1.0, 0.5):
        processor = sampling._Draw(draws_RN, 3, temperature)
        kept_RV = processor(torch.zeros(count, 3, dtype=torch.long), logits.expand(count, -1))
        assert (kept_RV.isfinite().sum(1) == 1).all()
        share_V = kept_RV.isfinite().double().mean(0)
        assert (share_V - (logits.double() / temperature).softmax(0)).abs().max() < 2 / count


@pytest.mark.parametrize("between", [0, 20])
def test_an_impossible_token_is_never_drawn(kind: str, between: int) -> None:
    never = [-torch.inf]
    logits = torch.tensor([*never, 0.0, *never * (1 + between), 0.0, *never * (1 + between)]).expand(3, -1)
    draws = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    kept = sampling._Draw(draws, 1, 1.0)(torch.zeros(3, 1, dtype=torch.long), logits)
    assert kept.argmax(1).tolist() == [1, 3 + between, 3 + between]


def test_a_gpu_draws_what_a_cpu_draws_but_for_rounding() -> None:
    torch.manual_seed(0)
    scores_RV, draws_R1 = torch.randn(4000, 1000) * 3, torch.rand(4000, 1, dtype=torch.float64)
    here, there = (pick(scores_RV, draws_R1, 0.8) for pick in (sampling._picked, sampling._picked_in_two_steps))
    assert (here == there).double().mean() > 0.999
    scores_RV[7, 3] = torch.nan
    for pick in (sampling._picked, sampling._picked_in_two_steps):
        with pytest.raises(InputError, match="logits are not finite"):
            pick(scores_RV, draws_R1, 0.8)


def test_the_same_answers_whatever_they_are_sampled_with(kind: str, base: Base, questions: list[Question]) -> None:
    whole = sampler(base, questions).propose({place: range(3) for place in range(12)})
    assert whole == sampler(base, questions).propose({place: range(3) for place in reversed(range(12))})
    assert len({text for texts in whole.values() for text in texts}) > 30
    for place in (0, 3, 11):  # alone, without padding, and a later try by itself
        assert sampler(base, questions[place:]).propose({0: range(1, 3)}) == {0: whole[place][1:]}
    assert whole != sampler(base, questions, seed=1).propose({place: range(3) for place in range(12)})


def test_the_budget_changes_no_answer(base: Base, questions: list[Question]) -> None:
    wanted = {place: range(2) for place in range(12)}
    sizes: list[int] = []

    def sampled(memory: int | None) -> tuple[dict[int, list[str]], list[int]]:
        sizes.clear()
        made = sampler(base, questions, memory=memory)
        real = made._sample
        made._sample = lambda rows: (sizes.append(len(rows)), real(rows))[1]  # type: ignore[method-assign]
        return made.propose(wanted), list(sizes)

    whole, few = sampled(None)
    cut, many = sampled(2_000_000)
    assert whole == cut and sum(few) == sum(many) == 24 and len(many) > len(few)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_cold_sampling_is_greedy_generation(tokenizer: Any, questions: list[Question], architecture: str) -> None:
    """Also with left padding: the prompts differ in length, and each is generated alone by transformers."""
    base = tiny_base(tokenizer, architecture)
    made = Sampler(base, questions, QA, temperature=1e-6, max_tokens=6)
    found = made.propose({place: range(1) for place in range(8)})
    for place, [text] in found.items():
        prompt = prompt_ids(base, word("qa", questions[place], 0)[0])
        ids = torch.tensor([prompt])
        out = base.model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6, eos_token_id=1, pad_token_id=1
        )[0, len(prompt) :].tolist()
        assert text == tokenizer.decode(out, skip_special_tokens=True).partition("\n")[0].strip()


def test_the_makers_penalties_do_not_count(base: Base, questions: list[Question]) -> None:
    plain = sampler(base, questions, temperature=1e-6).propose({0: range(1)})
    own = base.model.generation_config = GenerationConfig(repetition_penalty=50.0, eos_token_id=1, bad_words_ids=[[5]])
    assert sampler(base, questions, temperature=1e-6).propose({0: range(1)}) == plain
    assert base.model.generation_config is own


def test_an_answer_ends_with_the_models_own_end(tokenizer: Any, questions: list[Question]) -> None:
    """Every token that the model's makers name ends an answer, not only the tokenizer's."""
    base = tiny_base(tokenizer)
    base.model.generation_config = GenerationConfig(eos_token_id=list(range(320)))
    assert sampler(base, questions).propose({0: range(3)}) == {0: ["", "", ""]}


def test_the_beginning_of_a_document_ends_an_answer(base: Base, questions: list[Question]) -> None:
    made, goat = sampler(base, questions), base.tokenizer.encode(" goat", add_special_tokens=False)
    assert base.tokenizer.bos_token_id == 0
    assert made._text(0, [*goat, 0, *goat], end_ids(base.model, base.tokenizer)) == "goat"


def test_prompts_are_read_as_they_are_when_scored(base: Base, questions: list[Question]) -> None:
    for question in questions:
        prompt, completion = word("qa", question, 0)
        context = encode_pair(base.tokenizer, prompt, completion, 128).context
        assert tuple(prompt_ids(base, prompt)) == context
    assert prompt_ids(base, "") == [0]
    assert prompt_ids(base, "Hi. ") == prompt_ids(base, "Hi.")
    assert prompt_ids(base, "Hi.\n") == [
        *prompt_ids(base, "Hi."),
        *base.tokenizer.encode("\n", add_special_tokens=False),
    ]


@pytest.mark.parametrize(
    ("style", "prompt", "right", "sampled", "choice", "again"),
    [
        ("qa", "Who?", "owl", " a goat\nQuestion", "a goat", "Question: Who?\nAnswer: a goat"),
        ("qa", "Who?", "owl", "\n\nQuestion: Who", "", None),  # no answer at all
        ("plain", "Who?", "owl", " a goat", "a goat", "Who? a goat"),
        ("verbatim", "Who?", " owl", " a goat\nno", " a goat", "Who? a goat"),
        ("verbatim", "Who? ", "owl", " a goat", "a goat", "Who? a goat"),
        ("verbatim", "Who?\n", "owl", "a goat", "a goat", "Who?\na goat"),
        ("verbatim", "Who?", "\nowl", "\na goat\nno", "\na goat", "Who?\na goat"),
        ("verbatim", "Who?", " owl\nor so", " a goat\nor an ox", " a goat\nor an ox", "Who? a goat\nor an ox"),
    ],
)
def test_a_sampled_text_becomes_a_choice_that_reproduces_it(
    base: Base, style: str, prompt: str, right: str, sampled: str, choice: str, again: str | None
) -> None:
    question = Question("q", prompt, (right,), 0)
    made = Sampler(base, [question], Prompter(style))
    new = base.tokenizer.encode(sampled, add_special_tokens=False)
    assert made._text(0, [*new, 1, 5, 5], [1]) == choice
    if again is not None:
        assert "".join(word(style, Question("q", prompt, (choice,)), 0)) == again


def test_generation_stops_at_the_end_of_the_line(base: Base) -> None:
    stop, late = (LineEnd(base.tokenizer, 2, own_line) for own_line in (False, True))
    for text, first, own in (
        ("goat", False, False),
        ("goat\n", True, True),
        ("\n", True, False),
        (" \nox\n", True, True),
    ):
        row = torch.tensor([[0, 0, *base.tokenizer.encode(text, add_special_tokens=False)]])
        assert stop(row, None).tolist() == [first] and late(row, None).tolist() == [own]


def test_the_longest_right_answer_sets_the_length(base: Base, questions: list[Question]) -> None:
    longest = max(
        len(encode_pair(base.tokenizer, *word("qa", question, question.answer or 0), 128).completion)
        for question in questions
    )
    assert Sampler(base, questions, QA).max_tokens == longest
    endless = Question("long", "Which?", ("heron " * 30,), 0)
    assert Sampler(base, [*questions, endless], QA).max_tokens == 64


def test_what_cannot_be_sampled(base: Base, questions: list[Question]) -> None:
    with pytest.raises(
        InputError, match="max_tokens must leave room for a prompt: the model reads 128 tokens in all, got 128"
    ):
        Sampler(base, questions, QA, max_tokens=128)
    with pytest.raises(InputError, match="'x' has no known answer"):
        Sampler(base, [Question("x", "Which?", ("goat",))], QA)
    base.model.get_output_embeddings().weight.data[7] = float("nan")
    with pytest.raises(InputError, match="logits are not finite"):
        sampler(base, questions).propose({0: range(1)})


def test_a_prompt_longer_than_the_context_is_cut_from_the_left(base: Base) -> None:
    long, short = (Question("q", text, ("goat",), 0) for text in ("sea " * 300 + "Which?", "sea " * 200 + "Which?"))
    texts = [Sampler(base, [q], QA, max_tokens=4).propose({0: range(4)}) for q in (long, short)]
    assert texts[0] == texts[1]
