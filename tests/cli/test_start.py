"""What is wrong with a name is said before torch is loaded."""

import subprocess
import sys

import pytest

from tests.conftest import PATIENCE

_SCRIPT = """
import sys
from likra.cli.app import main
sys.argv = ["likra", *sys.argv[1:]]
try:
    main()
finally:
    sys.stderr.write(f"\\nloaded: {[name for name in ('torch', 'transformers') if name in sys.modules]}")
"""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--help", 0),
        ("train --help", 0),
        ("study curve --help", 0),
        ("score no-such --question x --choice a --choice b", 2),
        ("eval no-such --data world", 2),
        ("calibrate no-such --data world", 2),
        ("pick no-such --prompt x", 2),
        ("generate no-such --prompt x", 2),
        ("serve no-such", 2),
        ("push no-such me/heads", 2),
        ("merge no-such --out made", 2),
        ("distill no-such --data world --out made", 2),
        ("train no/such/folder --data world --out made", 2),
        ("train tests --data world --out made", 2),
        ("train world --data no-such.jsonl --out made", 2),
        ("mine no/such/folder --data world --out made.jsonl", 2),
        ("study curve no/such/folder --data world --out made", 2),
        ("score tests --question x --choice a", 2),
        ("score --no-such-option", 2),
    ],
)
def test_it_is_said_before_torch_is_loaded(command: str, code: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *command.split()], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.endswith("loaded: []"), ran.stderr
    assert "Traceback" not in ran.stderr
