"""The pages of docs/ that lead through many commands: all of them run, in order, on the embedded model."""

import csv
import os
import re
import shutil
import socket
import stat
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Run

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)```(bash|python)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
#: What the pages say of a real model -> what is said of the smallest embedded one, which learns nothing of them.
_INSTEAD = {
    r"^pip install .*$": "",
    r"^MODEL=.*$": "MODEL=world-tiny",
    r"likra tune MODEL": "likra tune world-tiny",
    r"^(likra tune .*)$": r"\1 --folds 2 --try-lr 1e-3 --try-epochs 1",
    r"^(likra check .*)$": r"\1 || test $? = 2  # no confidence to check where no answer can be automated",
    r"^likra teach": "likra teach --folds 2 --even-if-worse",
}


def script(page: Path, port: int) -> str:
    """The commands of a page, as one bash script."""
    lines = ["set -euo pipefail"]
    for indent, kind, code in _BLOCK.findall(page.read_text(encoding="utf-8")):
        code = textwrap.dedent(code) if indent else code
        lines.append(code if kind == "bash" else f"python - <<'END'\n{code}END")
    text = "\n".join(lines).replace("8000", str(port))
    for pattern, instead in _INSTEAD.items():
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


def tools(folder: Path) -> str:
    """A PATH on which `likra` and `python` are those of this test."""
    folder.mkdir()
    for name, command in (("likra", f"{sys.executable} -m likra"), ("python", sys.executable)):
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are for bash")
@pytest.mark.parametrize(("page", "made"), [("tickets.md", "router-2"), ("assistants.md", "heads-2")])
def test_every_command_of_the_page_runs(page: str, made: str, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("systemone", reason="systemone-client is not installed")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    work = tmp_path / "work"
    shutil.copytree(ROOT / "examples", work / "examples")
    for name, count in (("DATA.csv", 40), ("NEW.csv", 24)):
        with (work / name).open("w", newline="", encoding="utf-8") as file:
            answers = (("billing", "I was charged"), ("shipping", "no parcel came"))
            rows = [(f"{answers[n % 2][1]}, {name} {n}", answers[n % 2][0]) for n in range(count)]
            csv.writer(file).writerows([("text", "label"), *rows])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PATH": tools(tmp_path / "bin"), "HF_HUB_OFFLINE": "1", "LIKRA_CACHE": str(tmp_path)}
    done = run(["bash", "-c", script(ROOT / "docs" / page, port)], cwd=work, env=environment)
    said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, said
    assert (work / made / "likra.json").exists() and '"choice":' in done.stdout, said
