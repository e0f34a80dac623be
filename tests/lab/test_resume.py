"""Studies that are killed, and studies on a cluster: the same results, and nothing done twice."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import PATIENCE, Run, Spawn, spawning, until

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


def cells(out: Path, pattern: str) -> list[Path]:
    return list((out / "cells").glob(pattern))


#: When a study is killed: it has written a state of a cell, finished that and begun another. (A run that is cut off at
#: other places is tested in test_transfer.py, without a process for each.)
MOMENTS: list[Callable[[Path], Any]] = [
    lambda out: cells(out, ".*/**/*.json"),
    lambda out: finished(out) and cells(out, ".*/*"),
]


def test_a_study_killed_again_and_again_gives_the_same_file(run: Run, spawn: Spawn, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = run(command("curve", whole), env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    before: dict[str, tuple[int, int]] = {}
    for reached in MOMENTS:
        process = spawn(command("curve", killed), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # A moment that was missed, because the machine did other things, is a kill at a later one.
        until(lambda: reached(killed) or process.poll() is not None)  # noqa: B023
        process.kill()
        process.wait(PATIENCE)
        after = finished(killed)
        assert before.items() <= after.items()
        before = after
    done = run(command("curve", killed), env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert before.items() <= finished(killed).items()
    assert len(finished(killed)) == 3  # a pair of heads for each seed, and PMI
    assert (killed / "results.parquet").read_bytes() == (whole / "results.parquet").read_bytes()
    assert not [path for path in cells(killed, ".*") if path.is_dir()]


#: Found by every Python of the cluster: a worker that begins a cell (in a folder of its own) says who it is, and waits.
_HELD = """
import os, pathlib, tempfile, time

gate = pathlib.Path(os.environ["LIKRA_TEST_GATE"])

class Held(tempfile.TemporaryDirectory):
    def __init__(self, prefix=None, **options):
        super().__init__(prefix=prefix, **options)
        if prefix == "likra-":
            (gate / f"{os.getpid()}.worker").touch()
            while not (gate / "open").exists():
                time.sleep(0.01)

tempfile.TemporaryDirectory = Held
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder in which workers of `cluster` say that they have begun a cell, and wait for a file `open`."""
    folder = tmp_path / "gate"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HELD)
    return folder


@pytest.fixture
def cluster(gate: Path) -> Iterator[str]:
    """A local Ray cluster of two workers."""
    pytest.importorskip("ray")
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "LIKRA_TEST_GATE": str(gate)}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, (str(gate), os.environ.get("PYTHONPATH"))))
    ray = str(Path(sys.executable).parent / "ray")
    start = [ray, "start", "--head", "--num-cpus", "2", "--port", "0", "--include-dashboard", "false"]
    start += ["--object-store-memory", "200000000"]
    # Ray's sockets lie in its folder, and their names must be short.
    with tempfile.TemporaryDirectory(prefix="ray") as folder, spawning() as spawn:
        printed = Path(folder) / "start.txt"
        with printed.open("w") as file:  # no pipe: those who stay would keep it open
            started = spawn(
                [*start, "--temp-dir", folder], env={**ENVIRONMENT, **own}, stdout=file, stderr=subprocess.STDOUT
            )
            started.wait(PATIENCE)
        said = printed.read_text()
        found = re.search(r"--address='([^']+)'", said)
        if started.returncode != 0 or found is None:
            pytest.skip(f"Ray cannot start a cluster here: {said[-300:]}")
        yield found.group(1)


def test_a_cluster_that_loses_a_worker_gives_the_same_file(
    run: Run, spawn: Spawn, cluster: str, gate: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    done = run(command("curve", here), env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    environment = {**ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with (tmp_path / "errors").open("w") as errors:
        process = spawn(command("curve", there, "--ray", cluster), env=environment, stdout=errors, stderr=errors)
    workers = partial(gate.glob, "*.worker")
    until(lambda: any(workers()) or process.poll() is not None)
    assert process.poll() is None, (tmp_path / "errors").read_text()
    lost = next(workers())
    psutil.Process(int(lost.stem)).kill()
    (gate / "open").touch()
    assert process.wait(PATIENCE) == 0, (tmp_path / "errors").read_text()
    assert len(list(workers())) > 1  # another did its cell again
    assert (there / "results.parquet").read_bytes() == (here / "results.parquet").read_bytes()
