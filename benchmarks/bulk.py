"""`likra score --data` on 10,000 and 100,000 candidates: peak memory, kills, and a Ray cluster that loses a worker.

    python benchmarks/bulk.py

Heads trained on 64 questions of the embedded model score new questions in the world's words, four candidates each. Each
run is `likra score` in a process of its own, with one thread. The larger file is scored without a break; killed three
times (SIGKILL) and gone on with; and on a local Ray cluster of which a worker is killed. All three files must be the
same, byte for byte, and the peak memory of the larger file within 10% of the smaller one's: the medians of several
runs, for what the allocator keeps differs by some 50 MiB from run to run of the same file.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from likra import Likra
from likra.data import load
from likra.utils.files import unfinished
from likra.utils.runtime import QUIET

import common

RUNS = 3
KILLS = 3
MOST = 1.1  # times the peak of the smaller file


def candidates(path: Path, count: int) -> Path:
    """A file of new questions with so many candidates in all, whose right answers are not known."""
    draw = random.Random(0)
    known = [question for questions in load("world").questions.values() for question in questions]
    texts = sorted({choice for question in known for choice in question.choices})
    with path.open("w", encoding="utf-8") as file:
        for number in range(count // 4):
            record = {"id": str(number), "question": draw.choice(known).text, "choices": draw.sample(texts, 4)}
            file.write(json.dumps(record) + "\n")
    return path


class Scoring:
    """`likra score --data` as a process."""

    def __init__(self, heads: Path, data: Path, out: Path, *more: str) -> None:
        self.out, self.start = out, common.now()
        command = [sys.executable, "-m", "likra", "score", str(heads), "--data", str(data), "--out", str(out), *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)

    @property
    def parts(self) -> int:
        """Parts that are finished."""
        return sum(path.suffix == self.out.suffix for path in unfinished(self.out).glob("[0-9]*"))

    def until(self, parts: int) -> None:
        """Wait until so many parts are finished."""
        while self.parts < parts:
            if self._process.poll() is not None:
                raise SystemExit(f"the run ended before {parts} parts were finished")
            time.sleep(0.02)

    def kill(self) -> float:
        """Kill it; gives the seconds that it took."""
        self._process.kill()
        self._process.wait()
        return common.now() - self.start

    def kill_a_worker(self) -> None:
        """Kill one of the Ray actors that score."""
        workers = [p for p in psutil.Process(self._process.pid).children(recursive=True) if _scores(p)]
        workers[0].kill()

    def finish(self) -> tuple[float, float]:
        """Seconds that it took, and its peak memory in MiB (of the process itself, not of a cluster's workers)."""
        # Asked until the end: what the system tells of a child that has ended counts the peak of this process, too.
        peak = 0
        while self._process.poll() is None:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
            time.sleep(0.02)
        if self._process.returncode:
            raise SystemExit("the run failed")
        return common.now() - self.start, peak / 1024


def _scores(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[0].startswith("ray::MapWorker(MapBatches(_Worker)).")
    except (psutil.Error, IndexError):
        return False


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def show(run: str, count: int, took: float, peak: float | None, file: str) -> None:
    shown = "" if peak is None else f"{peak:.0f}"
    print(f"| {run} | {count:,} | {took:.0f} | {count / took:,.0f} | {shown} | {file[:12]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000, help="of the larger file; the other has a tenth")
    many = parser.parse_args().candidates
    few, folder = many // 10, common.scratch()
    heads = folder / "heads"
    Likra.from_base("world", recipe="paper").fit("world", limit=64, runtime=QUIET).save_pretrained(heads)
    small, large = candidates(folder / "small.jsonl", few), candidates(folder / "large.jsonl", many)
    print(f"{common.machine()}, {common.versions('pyarrow', 'ray')}; one thread a process\n")
    print("| run | candidates | s | candidates / s | peak, MiB | SHA-256 of the file |\n|---|---:|---:|---:|---:|---|")

    peaks: dict[Path, list[float]] = {small: [], large: []}
    for _ in range(RUNS):  # in turns
        for data, count in ((small, few), (large, many)):
            took, peak = Scoring(heads, data, out := data.with_suffix(".parquet")).finish()
            peaks[data].append(peak)
            show("unbroken", count, took, peak, whole := digest(out))

    parts, took = many // 2048, 0.0
    for kill in range(KILLS):
        run = Scoring(heads, large, folder / "killed.parquet")
        run.until((kill + 1) * parts // (KILLS + 1))
        took += run.kill()
    last, peak = Scoring(heads, large, folder / "killed.parquet").finish()
    killed = digest(folder / "killed.parquet")
    show(f"killed {KILLS} times", many, took + last, peak, killed)

    run = Scoring(heads, large, folder / "ray.parquet", "--ray", "local")
    run.until(parts // 3)
    run.kill_a_worker()
    took, _ = run.finish()
    on_ray = digest(folder / "ray.parquet")
    show("Ray, 1 worker killed", many, took, None, on_ray)

    times = statistics.median(peaks[large]) / statistics.median(peaks[small])
    print(f"\nPeak memory of {many:,} candidates against {few:,}, medians of {RUNS}: {100 * (times - 1):+.1f}%.")
    if not whole == killed == on_ray:
        raise SystemExit("the files differ")
    print("The three files are the same, byte for byte.")
    if times > MOST:
        raise SystemExit("memory grows with the file")


if __name__ == "__main__":
    main()
