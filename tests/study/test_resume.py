"""Studies that are killed, and studies on a cluster: the same results, and nothing done twice."""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

COMMAND = [sys.executable, "-m", "likra", "study"]
ARGUMENTS = ["--data", "world", "--sizes", "0,8,16,32", "--seeds", "2", "--limit", "40"]
# One thread: the same sums in every process, whatever else runs.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(study: str, out: Path, *more: str) -> list[str]:
    return [*COMMAND, study, "world-tiny", *ARGUMENTS, "--out", str(out), *more]


def finished(out: Path) -> dict[str, tuple[int, int]]:
    """Finished cell -> inode and time of its marker: both change if it is run again."""
    markers = (out / "cells").glob("[!.]*/cell.json")
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in markers}


def test_a_study_killed_three_times_gives_the_same_file(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    subprocess.run(command("curve", whole), check=True, env=ENVIRONMENT, capture_output=True)
    seconds = time.monotonic() - start
    rng = random.Random()
    before: dict[str, tuple[int, int]] = {}
    for _ in range(3):
        process = subprocess.Popen(command("curve", killed), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        # The last third of the time is for the report; what comes before it is to be hit.
        time.sleep(rng.uniform(0.3, 0.8) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = finished(killed)
        assert before.items() <= after.items()
        before = after
    subprocess.run(command("curve", killed), check=True, env=ENVIRONMENT, capture_output=True)
    assert before.items() <= finished(killed).items()
    assert len(finished(killed)) == 2
    assert (killed / "results.parquet").read_bytes() == (whole / "results.parquet").read_bytes()
    assert not [path for path in (killed / "cells").iterdir() if path.name.startswith(".") and path.is_dir()]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local Ray cluster of two workers."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray = str(Path(sys.executable).parent / "ray")
    start = [ray, "start", "--head", "--num-cpus", "2", "--port", "0", "--include-dashboard", "false"]
    start += ["--object-store-memory", "200000000"]
    # Ray's sockets lie in its folder, and their names must be short.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        started = subprocess.run([*start, "--temp-dir", folder], capture_output=True, text=True)
        found = re.search(r"--address='([^']+)'", started.stdout + started.stderr)
        if started.returncode != 0 or found is None:
            pytest.skip(f"Ray cannot start a cluster here: {(started.stdout + started.stderr)[-300:]}")
        yield found.group(1)
        # Not `ray stop`, which would stop other people's clusters on this machine too; workers end with their raylet.
        for process in psutil.process_iter(["cmdline"]):
            if folder in " ".join(process.info["cmdline"] or []):
                process.kill()


def test_a_cluster_that_loses_a_worker_gives_the_same_file(cluster: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run(command("curve", here), check=True, env=ENVIRONMENT, capture_output=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command("curve", there, "--ray", cluster), env=environment, stderr=subprocess.PIPE)

    def workers() -> list[Any]:
        """Ray's processes that are at work on a cell."""
        named = [p for p in psutil.process_iter(["cmdline"]) if "ray::_run" in " ".join(p.info["cmdline"] or [])]
        return [p for p in named if p.is_running()]

    deadline = time.monotonic() + 120
    while not workers():
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    at_work = workers()
    assert at_work, "every cell was finished before a worker could be killed"
    at_work[0].kill()
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert (there / "results.parquet").read_bytes() == (here / "results.parquet").read_bytes()
