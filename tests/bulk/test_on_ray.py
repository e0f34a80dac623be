"""Files scored on a cluster: the same file, though a worker is killed."""

import os
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from likra.cli.app import app
from likra.likra import Likra
from likra.utils.runtime import QUIET
from tests.conftest import PATIENCE, Spawn, until

#: Found by every Python of the cluster: a worker that begins a part says who it is, and waits.
_HELD = """
import os, pathlib, time

gate = pathlib.Path(os.environ["LIKRA_TEST_GATE"])

try:
    from likra.bulk.parts import Part
except ImportError:  # a Python of Ray's own, before it has found its packages
    pass
else:
    read = Part.from_json

    def held(text):
        (gate / f"{os.getpid()}.worker").touch()
        while not (gate / "open").exists():
            time.sleep(0.01)
        return read(text)

    Part.from_json = staticmethod(held)
"""


def test_a_cluster_that_loses_a_worker_gives_the_same_file(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    gate = tmp_path / "gate"
    gate.mkdir()
    (gate / "sitecustomize.py").write_text(_HELD)
    Likra.from_base("world-tiny").fit("world", limit=16, runtime=QUIET).save_pretrained(tmp_path / "heads")
    monkeypatch.chdir(tmp_path)
    command = ["score", "heads", "--data", "world", "--out"]
    ran = CliRunner().invoke(app, [*command, "here.jsonl"])
    assert ran.exit_code == 0, ran.output
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIKRA_TEST_GATE": str(gate)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(gate), os.environ.get("PYTHONPATH"))))
    with (tmp_path / "errors").open("w") as errors:
        arguments = [sys.executable, "-m", "likra", *command, "there.jsonl", "--ray", "local"]
        process = spawn(arguments, env=environment, stdout=errors, stderr=errors)
    workers = partial(gate.glob, "*.worker")
    until(lambda: any(workers()) or process.poll() is not None)
    assert process.poll() is None, (tmp_path / "errors").read_text()
    psutil.Process(int(next(workers()).stem)).kill()
    (gate / "open").touch()
    assert process.wait(PATIENCE) == 0, (tmp_path / "errors").read_text()
    assert len(list(workers())) > 1  # another scored its part
    assert (tmp_path / "there.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    assert not (tmp_path / "there.jsonl.partial").exists()
