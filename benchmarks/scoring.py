"""Scoring against lm-evaluation-harness: base and two heads, the same questions, prompts and numbers.

    python benchmarks/scoring.py --data arc-challenge

The harness's HFLM reads the questions three times: the plain base, and each head as a PEFT adapter (Activated LoRA for
heads that act on answers). likra reads them once. Likelihoods must agree within 1e-3 before a ratio is printed.
Beside it stands the speed-up to expect: FLOPs of the tokens the harness ran, over FLOPs of each distinct token once.
"""

import argparse
import collections
import os
import warnings
from typing import Any

import numpy as np
import torch

from likra.data import Prompter, Question
from likra.engine.loglikelihood import encode_question, score
from likra.models.adapters import write_adapter
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE, Likelihoods

import common
import rivals

HEADS = ("positive", "negative")
TOLERANCE = 1e-3


class Counter:
    """Counts what a model reads: tokens (padding included), pairs of attention, and places with vocabulary logits."""

    def __init__(self, model: Any) -> None:
        self.tokens = self.pairs = self.logits = 0
        self._hooks = [
            model.get_input_embeddings().register_forward_hook(self._embedded),
            model.get_output_embeddings().register_forward_hook(self._projected),
        ]

    def _embedded(self, module: Any, inputs: Any, output: Any) -> None:
        rows, length = inputs[0].shape
        self.tokens += rows * length
        self.pairs += rows * length * (length + 1) // 2

    def _projected(self, module: Any, inputs: Any, output: Any) -> None:
        self.logits += inputs[0].shape[:-1].numel()

    def stop(self) -> "Counter":
        for hook in self._hooks:
            hook.remove()
        return self


def distinct(
    base: Base, questions: list[Question], prompter: Prompter, answer: bool, adapted: int
) -> collections.Counter:
    """Tokens, pairs of attention and logits of reading every distinct token once; counted on its own, as a dictionary.

    `answer`: tokens before the last `adapted` of each prompt are read once, the others once for each of three readers.
    """
    nodes: dict[tuple[int, int, bool], int] = {}
    predicting = set()
    total: collections.Counter = collections.Counter()
    for question in questions:
        for pair in encode_question(base, question, prompter):
            parent = -1
            for place, token in enumerate(pair.inputs):
                own = not answer or place >= len(pair.context) - adapted
                key = (parent, token, own)
                if key not in nodes:
                    nodes[key] = len(nodes)
                    total["tokens"] += 3 if own else 1
                    total["pairs"] += (place + 1) * (3 if own else 1)
                    total["adapted"] += 2 if own else 0
                parent = nodes[key]
                if place >= len(pair.context) - 1 and parent not in predicting:
                    predicting.add(parent)
                    total["logits"] += 3
    return total


def operations(model: Any, tokens: int, pairs: int, logits: int, adapted: int, rank: int) -> float:
    """Multiplications and additions: linear layers, attention, vocabulary logits, and heads on `adapted` tokens."""
    linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")]
    weights = sum(m.weight.numel() for m in linear)
    ranks = sum(rank * (m.in_features + m.out_features) for m in linear)
    config = model.config
    attention = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * pairs
    return 2.0 * (weights * tokens + ranks * adapted + attention + config.hidden_size * config.vocab_size * logits)


def difference(table: Likelihoods, name: str, theirs: list[list[float]]) -> float:
    """The largest difference of a log-likelihood."""
    rows = zip(table.head(name), theirs, strict=True)
    return max(float(np.abs(row[: len(values)] - values).max()) for row, values in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="arc-challenge", help="a source of questions, as `likra train --data` takes it"
    )
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--batch", type=int, default=1, help="the harness's batch size; 1 is its default")
    parser.add_argument("--only", default="", help="a part of the names of the promptings to run")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")

    train, test = common.questions(options.data)
    some = test[: options.questions]
    base = common.random_base("50M", train)
    folder = common.scratch()
    base.model.save_pretrained(folder / "model")
    base.tokenizer.save_pretrained(folder / "model")
    count = sum(p.numel() for p in base.model.parameters())
    print(f"{common.machine()}; random Llama of {count / 1e6:.1f} M parameters, {len(some)} questions, seed 0")
    print(f"harness: HFLM, batch size {options.batch}; three model variants: base, positive, negative\n")
    print("| prompt | heads | harness, s | likra, s | times faster | expected (FLOPs) | measured / expected "
        "| tokens / distinct | padding | largest difference |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        flush=True)  # fmt: skip
    for prompting, prompter in common.prompters("qa", train).items():
        if options.only not in prompting:
            continue
        plain: tuple[float, Counter, list[list[float]]] | None = None
        for activation in ("everywhere", "completion"):
            ending = base.tokenizer.encode("Answer:", add_special_tokens=False) if activation == "completion" else []
            stack = HeadStack(base, HEADS, adapt=activation, invocation_tokens=ending)
            common.perturb(stack)
            score(base, stack, some[:1], prompter, (BASE, *HEADS))
            counter = Counter(base.model)
            ours, table = common.seconds(lambda: score(base, stack, some, prompter, (BASE, *HEADS)))  # noqa: B023
            counter.stop()
            for name in HEADS:
                write_adapter(stack, name, folder / activation / name)
            context = encode_question(base, some[0], prompter)[0].context
            adapted = len(context) - stack.num_base_tokens(context)
            stack.remove()
            floor = distinct(base, some, prompter, activation == "completion", adapted)

            plain = plain or rivals.harness(folder / "model", None, some, prompter, options.batch, Counter)
            readers = {BASE: plain}
            for name in HEADS:
                adapter = folder / activation / name
                readers[name] = rivals.harness(folder / "model", adapter, some, prompter, options.batch, Counter)
            worst = max(difference(table, name, values) for name, (_, _, values) in readers.items())
            if worst > TOLERANCE:
                raise SystemExit(f"{prompting}, {activation}: likelihoods differ by {worst}")
            theirs = sum(took for took, _, _ in readers.values())
            work = sum(
                operations(base.model, c.tokens, c.pairs, c.logits, 0 if name == BASE else c.tokens, 16)
                for name, (_, c, _) in readers.items()
            )
            least = operations(base.model, floor["tokens"], floor["pairs"], floor["logits"], floor["adapted"], 16)
            expected, ratio = work / least, theirs / ours
            print(
                f"| {prompting} | `{activation}` | {theirs:.1f} | {ours:.2f} | {ratio:.1f} | {expected:.1f} "
                f"| {ratio / expected:.2f} | {counter.tokens / floor['tokens']:.3f} "
                f"| {1 - floor['tokens'] / counter.tokens:.1%} | {worst:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
