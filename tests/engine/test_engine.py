"""Likelihoods against plain full forward passes, and the invariants that the method rests on."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likra.data import Prompter, Question, TokenizedExample
from likra.data.tokens import encode_pair
from likra.engine import memory as budget_module
from likra.engine import reader as reader_module
from likra.engine.loglikelihood import encode_question, score
from likra.engine.probe import can_share
from likra.errors import InputError
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE
from tests.conftest import ARCHITECTURES, WINDOW, tiny_base

PROMPTER = Prompter("qa")


def plain(base: Base, context: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """One full forward pass over one unpadded sequence, by nothing but the model itself."""
    ids = torch.tensor([context + completion])
    with torch.no_grad():
        logprobs = base.model(ids).logits[0].double().log_softmax(-1)
    return sum(logprobs[len(context) - 1 + i, token].item() for i, token in enumerate(completion))


def perturb(stack: HeadStack, seed: int = 0) -> None:
    """Heads as training would leave them: every B away from zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in stack.layers.values():
        layer.b.data.copy_(torch.randn(layer.b.shape, generator=generator) * 0.05)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shared_prompts_equal_plain_forward_passes(
    architecture: str, tokenizer: Any, questions: list[Question]
) -> None:
    base = tiny_base(tokenizer, architecture)
    expected = {}
    for question in questions:
        for place, (context, completion) in enumerate(PROMPTER.pairs(question)):
            pair = encode_pair(tokenizer, context, completion, base.max_length)
            assert len(pair.context) > WINDOW  # the sliding windows are overrun
            expected[question.id, place] = plain(base, pair.context, pair.completion)
    assert can_share(base.model, 100)
    table = score(base, None, questions, PROMPTER)
    for row, question in enumerate(questions):
        for place in range(len(question.choices)):
            assert table.head(BASE)[row, place] == pytest.approx(expected[question.id, place], abs=1e-4)
        assert np.isnan(table.head(BASE)[row, len(question.choices) :]).all()


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "opt"])
def test_reading_candidates_alone_gives_the_same(
    architecture: str, tokenizer: Any, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(tokenizer, architecture)
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4))
    perturb(stack)
    together = score(base, stack, questions, PROMPTER, (BASE, "one", "two"))
    monkeypatch.setattr(reader_module, "can_share", lambda model, longest: False)
    alone = score(base, stack, questions, PROMPTER, (BASE, "one", "two"))
    np.testing.assert_allclose(together.logprob_HQC, alone.logprob_HQC, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_whose_tokens_are_no_prefix_of_the_whole(architecture: str, tokenizer: Any) -> None:
    context, choices = (
        "Question: Whi",
        ("ch animal", "te goat", "ch"),
    )  # 'Which' is one token: the boundary is inside it
    own = tokenizer.encode(context)
    wholes = [tokenizer.encode(context + choice) for choice in choices]
    assert wholes[0][: len(own)] != own
    shared = next(i for i, (a, b) in enumerate(zip(own, wholes[0], strict=False)) if a != b)
    base = tiny_base(tokenizer, architecture)
    table = score(base, None, [Question("odd", context, choices, 0)], Prompter("verbatim"))
    for place, whole in enumerate(wholes):  # all three likelihoods cover the same text: from the shared tokens on
        expected = plain(base, tuple(whole[:shared]), tuple(whole[shared:]))
        assert table.head(BASE)[0, place] == pytest.approx(expected, abs=1e-4)


def test_a_model_that_cannot_share_is_found_out(tokenizer: Any, base: Base, caplog: pytest.LogCaptureFixture) -> None:
    forward = base.model.forward

    def forgets_the_positions(position_ids: Any = None, logits_to_keep: Any = 0, **rest: Any) -> Any:
        return forward(logits_to_keep=logits_to_keep, **rest)

    base.model.forward = forgets_the_positions
    assert not can_share(base.model, 100)
    assert "read on its own" in caplog.text


def test_a_model_that_takes_no_logits_to_keep_is_sliced(base: Base, questions: list[Question]) -> None:
    expected = score(base, None, questions, PROMPTER).logprob_HQC
    bare = tiny_base(base.tokenizer)
    forward = bare.model.forward

    def without(input_ids: Any, attention_mask: Any = None, position_ids: Any = None, use_cache: bool = False) -> Any:
        return forward(input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=use_cache)

    bare.model.forward = without
    np.testing.assert_allclose(score(bare, None, questions, PROMPTER).logprob_HQC, expected, atol=1e-5)


def test_local_layers_of_an_unknown_kind_are_read_alone(tokenizer: Any, questions: list[Question]) -> None:
    """GPT-Neo's local layers count places in the row; on a short probe they would pass for full ones."""
    from transformers import AutoModelForCausalLM, GPTNeoConfig

    from likra.models.base import as_base

    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=320, hidden_size=32, num_layers=2, num_heads=4, window_size=12, max_position_embeddings=128,
        attention_types=[[["global", "local"], 1]], bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    base = as_base(AutoModelForCausalLM.from_config(config), tokenizer)
    assert not can_share(base.model, 100)
    table = score(base, None, questions, PROMPTER)
    for row, question in enumerate(questions):
        for place, (context, completion) in enumerate(PROMPTER.pairs(question)):
            pair = encode_pair(tokenizer, context, completion, base.max_length)
            assert table.head(BASE)[row, place] == pytest.approx(plain(base, pair.context, pair.completion), abs=1e-4)


def test_heads_of_one_batch_equal_heads_alone(base: Base, questions: list[Question]) -> None:
    stack = HeadStack(base, ["one", "two", "three"], lora=lora_config(r=4))
    perturb(stack)
    together = score(base, stack, questions, PROMPTER, (BASE, "one", "two", "three"))
    for name in ("one", "two", "three"):
        alone = score(base, stack, questions, PROMPTER, (name,))
        np.testing.assert_allclose(together.head(name), alone.head(name), atol=1e-4)
    assert np.nanmax(np.abs(together.head("one") - together.head(BASE))) > 0.1


def test_two_identical_heads_give_a_ratio_of_exactly_zero_and_chance_accuracy(
    base: Base, questions: list[Question]
) -> None:
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    perturb(stack)
    stack.set_weights("negative", stack.weights("positive"), rank=4, scaling=stack.scaling("positive"))
    result = Evaluation(score(base, stack, questions, PROMPTER, (BASE, "positive", "negative")))
    ratios = result.scores["likra"]
    assert (ratios[~np.isnan(ratios)] == 0).all()
    chance = np.mean([1 / len(question.choices) for question in questions])
    assert result.methods["likra"].value == pytest.approx(chance)


def test_untrained_heads_are_the_base_to_the_last_bit(base: Base, questions: list[Question]) -> None:
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    table = score(base, stack, questions, PROMPTER, (BASE, "positive", "negative"))
    np.testing.assert_array_equal(table.head("positive"), table.head(BASE))
    np.testing.assert_array_equal(table.head("negative"), table.head(BASE))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_the_choices_changes_nothing(seed: int, base: Base, questions: list[Question]) -> None:
    rng = random.Random(seed)
    shuffled = []
    for question in questions:
        order = rng.sample(range(len(question.choices)), len(question.choices))
        assert question.answer is not None
        choices = tuple(question.choices[place] for place in order)
        shuffled.append(Question(question.id, question.text, choices, order.index(question.answer)))
    rng.shuffle(shuffled)
    one, other = (score(base, None, some, PROMPTER) for some in (questions, shuffled))
    by_text = {
        (q.id, choice): other.head(BASE)[row, place]
        for row, q in enumerate(shuffled)
        for place, choice in enumerate(q.choices)
    }
    for row, question in enumerate(questions):
        for place, choice in enumerate(question.choices):
            assert one.head(BASE)[row, place] == by_text[question.id, choice]  # to the last bit
    accuracies = [Evaluation(table, None, None).methods["base"].value for table in (one, other)]
    assert accuracies[0] == accuracies[1]


def test_small_batches_give_the_same(base: Base, questions: list[Question], monkeypatch: pytest.MonkeyPatch) -> None:
    large = score(base, None, questions, PROMPTER)
    monkeypatch.setattr(budget_module, "TOKENS", {"cpu": 32})
    seen: list[tuple[int, int]] = []
    small = score(base, None, questions, PROMPTER, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(large.logprob_HQC, small.logprob_HQC, atol=1e-4)
    assert seen[0] == (0, 12) and seen[-1] == (12, 12) and len(seen) > 4


def test_many_candidates_and_many_questions_of_one_prompt(base: Base) -> None:
    """A question of 300 candidates, and 300 questions with no prompt of their own, as in BLiMP."""
    one = [Question("wide", "Which?", tuple(f"goat {n} owl" for n in range(300)), 0)]
    many = [Question(f"q{n}", "", (f"goat {n}", f"owl {n}"), 0) for n in range(300)]
    for questions, prompter in ((one, PROMPTER), (many, Prompter("empty"))):
        pairs = [encode_question(base, question, prompter) for question in questions]
        can_share(base.model, 100)
        read: list[int] = []
        hook = base.model.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output, read=read: read.append(inputs[0].numel())
        )
        table = score(base, None, questions, prompter)
        hook.remove()
        prefixes = {pair.inputs[: n + 1] for places in pairs for pair in places for n in range(len(pair.inputs))}
        assert sum(read) == len(prefixes)  # each distinct token once, and no padding
        for row, place in ((0, 0), (0, 1), (len(questions) - 1, len(questions[-1].choices) - 1)):
            pair = pairs[row][place]
            assert table.head(BASE)[row, place] == pytest.approx(plain(base, pair.context, pair.completion), abs=1e-4)


def test_answer_activation_leaves_the_prompt_to_the_base(base: Base, questions: list[Question]) -> None:
    stack = HeadStack(base, ["one"], lora=lora_config(r=4), adapt="completion")
    perturb(stack)
    pair = encode_pair(base.tokenizer, *PROMPTER.pairs(questions[3])[1], base.max_length)
    ids = torch.tensor([pair.inputs])
    first = len(pair.context) - 1  # the prompt's last token: its output predicts the answer's first
    spans, count = [("one", first, ids.shape[1])], ids.shape[1]
    plain_states = base.model(ids, output_hidden_states=True).hidden_states
    with stack.active(spans, count):
        states = base.model(ids, output_hidden_states=True).hidden_states
    for layer, (ours, bases) in enumerate(zip(states, plain_states, strict=True)):
        assert torch.equal(ours[:, :first], bases[:, :first])
        if layer > 0:
            assert not torch.allclose(ours[:, first:], bases[:, first:], atol=1e-3)
    # And so the engine scores: the same forward pass, one sequence at a time.
    with stack.active(spans, count):
        logits = base.model(ids).logits[0, first:].double().log_softmax(-1)
    expected = sum(logits[place, token].item() for place, token in enumerate(pair.completion))
    table = score(base, stack, [questions[3]], PROMPTER, ("one",))
    assert table.head("one")[0, 1] == pytest.approx(expected, abs=1e-4)


def test_a_prompt_that_overruns_the_context_is_cut_from_the_left_and_counted(base: Base) -> None:
    long = Question("long", "sea " * 200, ("goat", "a tall heron"), 0)
    table = score(base, None, [long], PROMPTER)
    for place, (context, completion) in enumerate(PROMPTER.pairs(long)):
        ids = base.tokenizer.encode(context)
        answer = base.tokenizer.encode(context + completion)[len(ids) :]
        window = (ids + answer)[-(base.max_length + 1) :]
        assert table.cut_QC[0, place] == len(ids) + len(answer) - base.max_length - 1
        kept = tuple(window[: len(window) - len(answer)])
        # A row of exactly the model's length, as the harness reads it: the last token is only predicted.
        with torch.no_grad():
            logprobs = base.model(torch.tensor([window[:-1]])).logits[0].double().log_softmax(-1)
        expected = sum(logprobs[len(kept) - 1 + i, token].item() for i, token in enumerate(answer))
        assert table.head(BASE)[0, place] == pytest.approx(expected, abs=1e-4)
    assert table.questions_cut == 1


def test_a_completion_longer_than_the_context_is_refused(base: Base) -> None:
    with pytest.raises(InputError, match=r"question 'huge': the completion .* longer than the model's context of 128"):
        score(base, None, [Question("huge", "How many?", ("one", "sea " * 300), 0)], PROMPTER)


def test_a_likelihood_that_is_not_finite_is_refused(base: Base, questions: list[Question]) -> None:
    can_share(base.model, 100)
    with torch.no_grad():
        base.model.get_output_embeddings().weight[5] = float("nan")
    with pytest.raises(InputError, match="log-likelihood under 'base' is nan"):
        score(base, None, questions, PROMPTER)


def test_no_questions_and_no_heads_are_refused(base: Base, questions: list[Question]) -> None:
    with pytest.raises(InputError, match="no questions"):
        score(base, None, [], PROMPTER)
    with pytest.raises(InputError, match="no heads are loaded"):
        score(base, None, questions, PROMPTER, ("positive",))


def test_bfloat16_is_close(tokenizer: Any, questions: list[Question]) -> None:
    full = score(tiny_base(tokenizer), None, questions, PROMPTER).head(BASE)
    half = tiny_base(tokenizer)
    half.model.to(torch.bfloat16)
    rough = score(half, None, questions, PROMPTER).head(BASE)
    per_token = np.abs(rough - full) / score(half, None, questions, PROMPTER).tokens_QC.clip(min=1)
    assert 1e-5 < np.nanmax(per_token) < 0.05  # rounding, and no more than that


def test_token_pair_inputs() -> None:
    assert TokenizedExample((1, 2), (3, 4)).inputs == (1, 2, 3)
