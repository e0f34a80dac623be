"""How long whole processes take: `likra score` of one question on the embedded model, and what is below it.

    python benchmarks/start.py

Each command is started anew, several times in turn with the others, and the medians are printed: of the time that
passes, and of the processor's time (user and system), which says more where other programs run. `eval` is run with an
empty cache, and again with what the first run kept. The imports are a floor for commands that read text with a model.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import common

LIKRA = [sys.executable, "-m", "likra"]
QUESTION = "Which instrument does Mira Voss play?"


def commands(heads: Path) -> dict[str, list[str]]:
    """What is measured, by its name in the table."""
    choices = ["--choice", "surely cello", "--choice", "probably harp"]
    evaluation = [*LIKRA, "eval", str(heads), "--data", "world"]
    return {
        "`python -c 'import torch'`": [sys.executable, "-c", "import torch"],
        "`python -c 'import torch, transformers'`": [sys.executable, "-c", "import torch, transformers"],
        "the same, and `from transformers import PreTrainedModel`": [
            sys.executable,
            "-c",
            "import torch\nfrom transformers import PreTrainedModel",
        ],
        "`likra --help`": [*LIKRA, "--help"],
        "`likra score`, one question": [*LIKRA, "score", str(heads), "--question", QUESTION, *choices],
        "`likra eval`, 240 questions": evaluation,
        "`likra eval`, the same again": evaluation,
    }


def measure(command: list[str], cache: Path) -> tuple[float, float]:
    """Seconds that pass, and seconds of the processor, until a command ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    environment = {**os.environ, "LIKRA_CACHE": str(cache)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    passed = time.perf_counter() - start
    assert ran.returncode == 0, ran.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="how often each command is started")
    runs = parser.parse_args().runs
    folder = common.scratch()
    heads, cache = folder / "heads", folder / "cache"
    train = [*LIKRA, "train", "world", "--data", "world", "--limit", "64", "--recipe", "paper", "--out", str(heads)]
    subprocess.run(train, check=True, capture_output=True)
    named = commands(heads)
    for command in named.values():  # once before, so that files are in memory and modules compiled
        measure(command, cache)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for _ in range(runs):
        shutil.rmtree(cache, ignore_errors=True)
        for name, command in named.items():
            found[name].append(measure(command, cache))
    print(f"{common.machine()}; medians of {runs}\n")
    print("| command | seconds | of the processor |\n|---|---:|---:|")
    for name, times in found.items():
        passed, used = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| {name} | {passed:.2f} | {used:.2f} |")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
