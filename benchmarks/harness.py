"""`--model likra` against the harness's own `--model hf`, run once per head: the same tasks, requests and accuracies.

    python benchmarks/harness.py --model FOLDER --data arc-challenge --blimp blimp

Both sides run through `lm_eval.simple_evaluate`. The harness's model reads each task twice, with each head as a PEFT
adapter, and the two saved lists of likelihoods are put together by hand. Scores must agree within 1e-3 and accuracies
be equal before a ratio is printed. Beside it stands what there is to save: the tokens of all requests, without padding,
over the distinct ones.
"""

import argparse
import contextlib
import gc
import io
import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from likra import Base, Likra, Question, TrainingConfig, load
from likra.data.tokens import encode_pair
from likra.integrations.harness import LikraLM
from likra.scoring.likelihoods import NEGATIVE, POSITIVE
from likra.utils.runtime import QUIET

import common

TOLERANCE = 1e-3
BATCHES = (1, 8, 32)  # of the harness's model; 1 is its default


@dataclass
class Run:
    """One evaluation: seconds of the model's reading, and of everything (loading too), scores and accuracy."""

    reading: float
    whole: float
    scores: np.ndarray
    accuracy: float
    requests: list[Any]


def write_task(
    folder: Path, name: str, style: str, splits: dict[str, list[Question]], shots: int = 0, sampler: str = "default"
) -> dict[str, Any]:
    """A task on local files, worded as the harness's own of ARC (`qa`) or BLiMP (`empty`) are."""
    files = {}
    for split, questions in splits.items():
        files[split] = str(folder / f"{name}-{split}.jsonl")
        rows = [{"question": q.text, "choices": list(q.choices), "answer": q.answer} for q in questions]
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "output_type": "multiple_choice",
        **{f"{'training' if split == 'train' else split}_split": split for split in splits},
        "doc_to_text": "Question: {{question}}\nAnswer:" if style == "qa" else "",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "num_fewshot": shots,
        "fewshot_config": {"sampler": sampler},
        "metric_list": [{"metric": "acc"}],
    }


def evaluate(make: Any, task: dict[str, Any], manager: TaskManager, limit: int | None = None) -> Run:
    """Load a model and evaluate it."""
    start = common.now()
    with contextlib.redirect_stderr(io.StringIO()):
        lm = make()
        read, took, asked = lm.loglikelihood, [], []

        def timed(requests: Any) -> Any:
            seconds, found = common.seconds(lambda: read(requests, disable_tqdm=True))
            took.append(seconds)
            asked.extend(requests)
            return found

        lm.loglikelihood = timed
        results = lm_eval.simple_evaluate(lm, tasks=[task], task_manager=manager, limit=limit)
    whole = common.now() - start
    scores = [resps[0][0] for sample in results["samples"][task["task"]] for resps in sample["resps"]]
    del lm
    gc.collect()
    return Run(sum(took), whole, np.array(scores), results["results"][task["task"]]["acc,none"], asked)


def sharing(base: Base, requests: list[Any]) -> float:
    """Tokens of all requests, over the distinct ones: equal tokens after equal beginnings are one."""
    pairs = [encode_pair(base.tokenizer, *request.args, base.max_length) for request in requests]
    distinct = {pair.inputs[: place + 1] for pair in pairs for place in range(len(pair.inputs))}
    return sum(len(pair.inputs) for pair in pairs) / len(distinct)


def accuracy_by_hand(scores: np.ndarray, questions: list[Question]) -> float:
    """The harness's own arithmetic: the first of the highest wins."""
    values = iter(scores)
    return float(np.mean([np.argmax([next(values) for _ in q.choices]) == q.answer for q in questions]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a small pretrained model")
    parser.add_argument("--data", default="arc-challenge", help="ARC, as `likra train --data` takes it")
    parser.add_argument("--blimp", default="blimp", help="BLiMP, likewise")
    parser.add_argument("--questions", type=int, default=200, help="of ARC; of BLiMP five times as many sentence pairs")
    parser.add_argument("--shots", type=int, default=5, help="solved examples in ARC's other two runs")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)

    train, test = common.questions(options.data)
    pairs = load(options.blimp).split(None)
    pairs = pairs[:: max(1, len(pairs) // (5 * options.questions))][: 5 * options.questions]
    folder = common.scratch()
    likra = Likra.from_base(options.model, training_config=TrainingConfig(learning_rate=1e-3))
    likra.fit(train, limit=64, runtime=QUIET).save_pretrained(folder / "heads")
    splits = {"train": train, "test": test[: options.questions]}
    few = f"ARC-Challenge, {options.shots}-shot"
    tasks = {
        "ARC-Challenge, 0-shot": (write_task(folder, "arc", "qa", splits), splits["test"]),
        f"{few}, drawn per question": (write_task(folder, "drawn", "qa", splits, options.shots), splits["test"]),
        f"{few}, the first": (write_task(folder, "first", "qa", splits, options.shots, "first_n"), splits["test"]),
        "BLiMP": (write_task(folder, "blimp", "empty", {"test": pairs}), pairs),
    }
    manager = TaskManager(include_defaults=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def ours() -> LikraLM:
        return LikraLM(folder / "heads", dtype="float32", device=device, cache=False)

    def theirs(head: str, batch: int) -> HFLM:
        adapter = str(folder / "heads" / head)
        return HFLM(pretrained=options.model, peft=adapter, dtype="float32", batch_size=batch, device=device)

    print(f"{common.machine()}; {options.model}, seed 0; reading alone, and all of it (loading too)\n")
    columns = "task|requests|tokens / distinct|`hf` twice, s (batch size)|likra, s|times faster than batch size 1"
    columns += "|times faster than `hf`'s best batch size|all: `hf` twice, s|likra, s"
    columns += "|accuracy from the two `hf` runs combined|likra|largest difference"
    print(f"| {' | '.join(columns.split('|'))} |\n|---{'|---:' * columns.count('|')}|", flush=True)
    for name, (task, questions) in tasks.items():
        for make in (ours, lambda: theirs(POSITIVE, 1)):
            evaluate(make, task, manager, limit=4)
        found = evaluate(ours, task, manager)
        runs = {
            batch: [evaluate(lambda: theirs(head, batch), task, manager) for head in (POSITIVE, NEGATIVE)]  # noqa: B023
            for batch in BATCHES
        }
        reading = {batch: sum(run.reading for run in pair) for batch, pair in runs.items()}
        best = min(BATCHES, key=lambda batch: reading[batch])
        positive, negative = runs[best]
        scores = positive.scores - likra.weight * negative.scores
        worst = float(np.abs(scores - found.scores).max())
        by_hand = accuracy_by_hand(scores, questions)
        if worst > TOLERANCE or by_hand != found.accuracy:
            raise SystemExit(f"{name}: scores differ by {worst}, accuracies are {by_hand} and {found.accuracy}")
        times = ", ".join(f"{seconds:.1f} ({batch})" for batch, seconds in reading.items())
        whole = min(sum(run.whole for run in pair) for pair in runs.values())
        print(
            f"| {name} | {len(scores)} | {sharing(likra.base, found.requests):.2f} | {times} | {found.reading:.2f} "
            f"| {reading[1] / found.reading:.1f} | {reading[best] / found.reading:.1f} | {whole:.1f} "
            f"| {found.whole:.1f} | {by_hand:.4f} | {found.accuracy:.4f} | {worst:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
