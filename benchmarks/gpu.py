"""Scoring and training on one GPU, in the shapes of Mistral-7B and Llama-3.2-3B, with random weights in bfloat16.

    python benchmarks/gpu.py            # under nine minutes; needs torch and transformers only
    python benchmarks/gpu.py --tiny     # the same on any machine, with a tiny model, to see that it runs

Questions are random tokens in the lengths of ARC-Challenge: prompts of 40 tokens, examples of 45, four candidates of 6.
The other side reads every candidate as a row of its own, with vocabulary logits everywhere, once per head, and trains
one head after the other: what today's tools do, without their overhead. Differences of likelihoods are printed.
`share of peak` is operations per second over those of the largest bfloat16 matrix product measured here. Then, each way
that likra has of it: attention by torch's kernel for sequences of unequal lengths and under masks, with the memory that
was reckoned with and the memory that was taken; a training step's memory likewise; and a draw of a token.
"""

import argparse
import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from likra.data.tokens import TokenizedExample
from likra.engine import kernels
from likra.engine.kernels import AttentionShape
from likra.engine.memory import Budget, TrainingBudget
from likra.engine.packed import PackedReader
from likra.engine.padded import PaddedReader
from likra.engine.probe import can_share
from likra.mining import sampling
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.training.config import TrainingConfig
from likra.training.trainer import Trainer

HEADS = ("positive", "negative")
ENDING = (3, 4)  # of every prompt
SHAPES: dict[str, Any] = {
    "Mistral-7B": MistralConfig(
        vocab_size=32_000, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=32_768, sliding_window=None,
    ),
    "Llama-3.2-3B": LlamaConfig(
        vocab_size=128_256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
        num_key_value_heads=8, max_position_embeddings=8192, tie_word_embeddings=True,
    ),
    "tiny": LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048,
    ),
}  # fmt: skip


class NoTokenizer:
    """Stands where a tokenizer is expected; questions are made of tokens here."""

    model_max_length = 2048
    bos_token_id = 0


def clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak(device: str) -> float:
    """Operations per second of a large bfloat16 matrix product."""
    size = 8192 if device == "cuda" else 512
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(5):
        start = clock()
        for _ in range(10):
            a @ b
        best = max(best, 10 * 2 * size**3 / (clock() - start))
    return best


def questions(count: int, shots: int, fixed: bool, vocabulary: int, seed: int = 0) -> list[TokenizedExample]:
    """Four candidates each of `count` questions."""
    rng = random.Random(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, vocabulary) for _ in range(length))

    common = tokens(45 * shots)
    pairs = []
    for _ in range(count):
        prompt = (0, *(common if fixed else tokens(45 * shots)), *tokens(38), *ENDING)
        pairs += [TokenizedExample(prompt, tokens(6)) for _ in range(4)]
    return pairs


def weights(model: Any) -> int:
    """Weights that every token is multiplied by."""
    return sum(
        m.weight.numel()
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")
    )


@torch.inference_mode()
def read_plainly(base: Any, stack: HeadStack, pairs: list[TokenizedExample], batch: int) -> list[list[float]]:
    """Every candidate a row, logits everywhere, one reader after the other."""
    result = []
    for name in (BASE, *HEADS):
        values: list[float] = []
        for start in range(0, len(pairs), batch):
            some = pairs[start : start + batch]
            ids = torch.tensor([pair.inputs for pair in some], device=base.device)
            spans = [] if name == BASE else stack.spans_of_rows(name, some, ids.shape[1])
            with stack.active(spans, ids.numel()):
                likely = base.model(ids, use_cache=False).logits.float().log_softmax(-1)
            for row, pair in enumerate(some):
                places = torch.arange(len(pair.completion), device=ids.device) + len(pair.context) - 1
                values.append(likely[row, places, torch.tensor(pair.completion, device=ids.device)].sum())
        result.append([float(value) for value in values])
    return result


def scoring(base: Any, top: float, count: int, rival_count: int, tiny: bool) -> None:
    vocabulary = base.model.config.vocab_size
    for shots, fixed in ((0, False), (3 if tiny else 25, False), (3 if tiny else 25, True)):
        pairs = questions(count, shots, fixed, vocabulary)
        few = pairs[: 4 * rival_count]
        longest = max(len(pair.inputs) for pair in pairs)
        assert can_share(base.model, longest)
        for activation in ("everywhere", "completion"):
            stack = HeadStack(base, HEADS, adapt=activation, invocation_tokens=ENDING)
            for layer in stack.layers.values():
                layer.b.data.normal_(0, 0.002)
            read: list[int] = []
            hook = base.model.get_input_embeddings().register_forward_hook(
                lambda module, inputs, output, read=read: read.append(inputs[0].numel())
            )
            budget = Budget.of(base.model, None, 1 + len(HEADS), longest)
            reader = PackedReader(base, stack)
            values = reader.loglikelihoods(few, [BASE, *HEADS], budget)
            read.clear()
            start = clock()
            reader.loglikelihoods(pairs, [BASE, *HEADS], budget)
            took = clock() - start
            tokens = sum(read)
            hook.remove()
            read_plainly(base, stack, few[:8], 8)
            start = clock()
            plain = read_plainly(base, stack, few, 8)
            theirs = (clock() - start) * count / rival_count
            gap = (torch.from_numpy(values) - torch.tensor(plain)).abs().max()
            places = len({(pair.context, pair.completion[:n]) for pair in pairs for n in range(len(pair.completion))})
            logits = 3 * places * vocabulary * base.model.config.hidden_size
            share = 2 * (weights(base.model) * tokens + logits) / took / top
            print(
                f"| {shots}-shot, {'fixed' if fixed else 'sampled'} | `{activation}` | {count / took:.1f} "
                f"| {tokens / took:,.0f} | {theirs / took:.1f} | {share:.2f} "
                f"| {gap:.2f} (spread {statistics.pstdev(plain[0]):.1f}) |",
                flush=True,
            )
            stack.remove()


def step_seconds(
    base: Any, names: list[str], pairs: list[TokenizedExample], config: TrainingConfig, *, share: bool
) -> float:
    """Median seconds of a step of training some heads together, the first ones left out."""
    stack = HeadStack(base, names, adapt=config.adapt, invocation_tokens=ENDING)
    ticks: list[float] = []
    reader = (PackedReader if share else PaddedReader)(base, stack, bf16=config.bf16)
    data = dict.fromkeys(names, pairs)
    Trainer(stack, data, config, reader=reader, on_step=lambda _: ticks.append(clock())).run()
    stack.remove()
    return statistics.median(b - a for a, b in itertools.pairwise(ticks[1:]))


def training(base: Any, top: float, steps: int) -> None:
    for shots in (0, 3):
        for activation in ("everywhere", "completion"):
            config = TrainingConfig(adapt=activation)
            pairs = questions(8 * steps, shots, True, base.model.config.vocab_size)[::4]
            together = step_seconds(base, list(HEADS), pairs, config, share=True)
            apart = sum(step_seconds(base, [name], pairs, config, share=False) for name in HEADS)
            # Forward and backward of the plain reading: what both heads cost if nothing were shared.
            operations = 2 * 2 * 2 * weights(base.model) * 8 * len(pairs[0].inputs)
            print(
                f"| {shots}-shot | `{activation}` | {together:.3f} | {apart:.3f} | {apart / together:.2f} "
                f"| {operations / apart / top:.2f} |",
                flush=True,
            )


@contextlib.contextmanager
def masks_only() -> Iterator[None]:
    """Attention without torch's kernel for sequences of unequal lengths."""
    kernel = kernels.varlen_attn
    kernels.varlen_attn = None  # type: ignore[assignment]
    try:
        yield
    finally:
        kernels.varlen_attn = kernel


def taken(run: Callable[[], Any]) -> tuple[float, str]:
    """Seconds, and GiB that were taken at most beside what was there before."""
    run()
    if not torch.cuda.is_available():
        start = clock()
        run()
        return clock() - start, "-"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated(), clock()
    run()
    return clock() - start, f"{(torch.cuda.max_memory_allocated() - before) / 2**30:.2f}"


def ways_of_attention(base: Any, count: int, tiny: bool) -> None:
    config = base.model.config
    shape = AttentionShape(base.device, base.model.dtype, config.num_attention_heads, config.num_key_value_heads,
                           config.hidden_size // config.num_attention_heads)  # fmt: skip
    print("\n| prompt | attention | questions / s | GiB for this | GiB taken |\n|---|---|---:|---:|---:|", flush=True)
    for shots, fixed in ((0, False), (3 if tiny else 25, False), (3 if tiny else 25, True)):
        pairs = questions(count, shots, fixed, config.vocab_size)
        longest = max(len(pair.inputs) for pair in pairs)
        memory = 4 * 2**30
        for way in ("kernel", "masks"):
            with contextlib.nullcontext() if way == "kernel" else masks_only():
                if way == "kernel" and not shape.varlen:
                    continue
                budget = Budget.of(base.model, memory, 1, longest)
                reader = PackedReader(base, None)
                seconds, most = taken(lambda: reader.loglikelihoods(pairs, [BASE], budget))  # noqa: B023
            print(f"| {shots}-shot, {'fixed' if fixed else 'sampled'} | {way} | {count / seconds:.1f} | 4 | {most} |",
                  flush=True)  # fmt: skip


def memory_of_training(base: Any) -> None:
    print("\n| prompt | heads | a step's memory as reckoned, GiB | taken, GiB |\n|---|---|---:|---:|", flush=True)
    for shots in (0, 3):
        for activation in ("everywhere", "completion"):
            pairs = questions(8, shots, True, base.model.config.vocab_size)[::4]
            stack = HeadStack(base, HEADS, adapt=activation, invocation_tokens=ENDING)
            reader = PackedReader(base, stack)
            budget = TrainingBudget.of(base.model, None, False)
            cost = sum(budget.cost(reader.num_own_tokens(p), len(p.inputs), len(p.completion)) for p in pairs)
            trainer = Trainer(stack, dict.fromkeys(HEADS, pairs), TrainingConfig(adapt=activation), reader=reader)
            _, most = taken(trainer.run)
            print(f"| {shots}-shot | `{activation}` | {2 * cost / 2**30:.2f} | {most} |", flush=True)
            stack.remove()


def draws(base: Any) -> None:
    print("\n| draw of 64 tokens | ms |\n|---|---:|", flush=True)
    scores = torch.randn(64, base.model.config.vocab_size, device=base.device)
    draw = torch.rand(64, 1, dtype=torch.float64)
    for name, pick in (("float64", sampling._picked), ("two steps", sampling._picked_in_two_steps)):
        there = draw.to(base.device) if name == "float64" else draw
        pick(scores, there, 1.0)
        start = clock()
        for _ in range(20):
            pick(scores, there, 1.0)
        print(f"| {name} | {(clock() - start) * 50:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.tiny:
        raise SystemExit("there is no GPU here; --tiny runs a tiny model on the CPU.")
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    top = peak(device)
    print(f"{name}, torch {torch.__version__}; largest bfloat16 product {top / 1e12:.1f} TFLOP/s")
    for shape in ["tiny"] if options.tiny else ["Llama-3.2-3B", "Mistral-7B"]:
        torch.manual_seed(0)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(SHAPES[shape], dtype=torch.bfloat16, attn_implementation="sdpa")
        base = Base(model.eval().requires_grad_(False), NoTokenizer(), shape, None)
        count = 8 if options.tiny else options.questions
        print(f"\n{shape}, {sum(p.numel() for p in model.parameters()) / 1e9:.2f} B parameters, {count} questions\n")
        print("| prompt | heads | questions / s | tokens / s | times faster | share of peak | largest difference |\n"
              "|---|---|---:|---:|---:|---:|---:|", flush=True)  # fmt: skip
        scoring(base, top, count, 2 if options.tiny else 8, options.tiny)
        print("\n| prompt | heads | s / step | apart, s / step | times faster | share of peak, apart |")
        print("|---|---|---:|---:|---:|---:|", flush=True)
        training(base, top, 6)
        ways_of_attention(base, count, options.tiny)
        memory_of_training(base)
        draws(base)
        del base, model
        if device == "cuda":
            torch.cuda.empty_cache()
            print(f"\npeak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
