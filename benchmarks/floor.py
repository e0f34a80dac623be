"""How far from the arithmetic: scoring's time over that of the bare matrix products of its distinct tokens.

    python benchmarks/floor.py --data arc-challenge
    python benchmarks/floor.py --model FILE.gguf --data arc-paper:FOLDER --precision fast

Three floors, measured on the same machine in the same process: the base's linear layers on the distinct tokens with the
vocabulary's at the places that need it; the heads' low-rank products too; and attention's too. Products of layers are
taken by whatever is fastest here and meets the precision asked for: float32 by MKL or by oneDNN, and, unless float32 is
asked for, those of bfloat16 matrices.
"""

import argparse
from pathlib import Path

import torch
from torch.nn import functional as F

from likra.engine import float32_library
from likra.engine.loglikelihood import encode_question, score
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE

import common
import scoring

CHUNK = 2048  # rows of a product


def fastest(base: Base, count: dict[str, int], rank: int, *, heads: bool, attention: bool, half: bool) -> float:
    """Seconds of the bare products by whatever is fastest; in half precision too, where that will do."""
    float32 = [products(base, count, rank, torch.float32, heads=heads, attention=attention)]
    if base.device.type == "cpu":
        with float32_library._through_onednn():
            float32.append(products(base, count, rank, torch.float32, heads=heads, attention=attention))
    if half:
        float32.append(products(base, count, rank, torch.bfloat16, heads=heads, attention=attention))
    return min(float32)


def products(
    base: Base, count: dict[str, int], rank: int, dtype: torch.dtype, *, heads: bool, attention: bool
) -> float:
    """Seconds of the bare products; those of layers in a type, the heads' and attention's in float32."""
    model, config = base.model, base.model.config
    layers = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")]
    vocabulary, weights = model.get_output_embeddings().weight.to(dtype), [layer.weight.to(dtype) for layer in layers]
    per_head, keys = config.num_attention_heads, round(count["pairs"] / count["tokens"])

    def chunks(total: int, size: int) -> list[int]:
        return [min(size, total - start) for start in range(0, total, size)]

    @torch.inference_mode()
    def run() -> None:
        for layer, weight in zip(layers, weights, strict=True):
            for rows in chunks(count["tokens"], CHUNK):
                F.linear(typed[:rows, : layer.in_features], weight)
            if heads:
                for rows in chunks(count["adapted"], CHUNK):
                    low = inputs[:rows, : layer.in_features] @ wide[: layer.in_features, :rank]
                    low @ wide[:rank, : layer.out_features]
        for rows in chunks(count["logits"], 256):
            F.linear(typed[:rows, : config.hidden_size], vocabulary)
        if attention:
            key = torch.ones(per_head, config.head_dim, keys)
            for _ in range(config.num_hidden_layers):
                for rows in chunks(count["tokens"], CHUNK):
                    seen = torch.bmm(torch.ones(per_head, rows, config.head_dim), key)
                    torch.bmm(seen, key.transpose(1, 2))

    inputs, wide = torch.randn(CHUNK, 4096), torch.randn(4096, 4096)
    typed = inputs.to(dtype)
    return common.seconds(run)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="arc-challenge", help="a source of questions, as `likra train --data` takes it"
    )
    common.add_model(parser)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--only", default="", help="a part of the names of the promptings to run")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "fast"])
    options = parser.parse_args()
    train, test = common.questions(options.data)
    some = test[: options.questions]
    base = common.base_of(options.model, "50M", train)
    base.precision, half = options.precision, options.precision != "float32"
    print(f"{common.machine()}; {Path(base.name).name}, {len(some)} questions, base and two heads, "
          f"precision {options.precision}, seed 0\n")  # fmt: skip
    print("| prompt | heads | likra, s | read in | linear, s | times | + LoRA, s | times | + attention, s | times |\n"
          "|---|---|---:|---|---:|---:|---:|---:|---:|---:|", flush=True)  # fmt: skip
    for prompting, prompter in common.prompters("qa", train).items():
        if options.only not in prompting:
            continue
        for activation in ("everywhere", "completion"):
            ending = base.tokenizer.encode("Answer:", add_special_tokens=False) if activation == "completion" else []
            stack = HeadStack(base, scoring.HEADS, adapt=activation, invocation_tokens=ending)
            common.perturb(stack)
            score(base, stack, some[:1], prompter, (BASE, *scoring.HEADS))
            took, table = common.seconds(lambda: score(base, stack, some, prompter, (BASE, *scoring.HEADS)))  # noqa: B023
            context = encode_question(base, some[0], prompter)[0].context
            adapted = len(context) - stack.num_base_tokens(context)
            stack.remove()
            count = scoring.distinct(base, some, prompter, activation == "completion", adapted)
            floors = [
                fastest(base, count, 16, heads=heads, attention=attention, half=half)
                for heads, attention in ((False, False), (True, False), (True, True))
            ]
            cells = " | ".join(f"{floor:.2f} | {took / floor:.2f}" for floor in floors)
            print(f"| {prompting} | `{activation}` | {took:.2f} | {table.meta['precision']} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
