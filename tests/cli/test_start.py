"""What is wrong with a name is said before torch is loaded."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from likra.utils.runtime import QUIET
from tests.conftest import PATIENCE, Run

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
        ("train world --data world --out made --report-to no-such", 2),
        ("mine no/such/folder --data world --out made.jsonl", 2),
        ("study curve no/such/folder --data world --out made", 2),
        ("score tests --question x --choice a", 2),
        ("score --no-such-option", 2),
        ("score no-such --data world --out scores.parquet", 2),
        ("score no-such --question x --choice a --choice b --precision exact", 2),
    ],
)
def test_it_is_said_before_torch_is_loaded(command: str, code: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *command.split()], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.endswith("loaded: []"), ran.stderr
    assert "Traceback" not in ran.stderr


#: What no score of one question needs, and what takes long to import.
_SLOW = (
    "accelerate datasets lm_eval matplotlib pandas peft pyarrow ray scipy sklearn sympy trl torch._dynamo "
    "torch._inductor torch.distributed.tensor torch.distributed.fsdp"
)


def test_a_score_imports_nothing_that_it_does_not_need(tmp_path: Path, run: Run) -> None:
    """And gives what the library gives that has imported all of transformers."""
    from likra.likra import Likra

    heads = tmp_path / "heads"
    likra = Likra.from_base("world-tiny").fit("world", limit=8, runtime=QUIET)
    likra.save_pretrained(heads)
    question, choices = "Which instrument does Mira Voss play?", ["surely cello", "probably harp"]
    script = _SCRIPT.replace("('torch', 'transformers')", repr(tuple(_SLOW.split())))
    command = ["score", str(heads), "--question", question, "--json"]
    ran = run([sys.executable, "-c", script, *command, *(f"--choice={choice}" for choice in choices)])
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.endswith("loaded: []"), ran.stderr
    assert json.loads(ran.stdout) == [dataclasses.asdict(one) for one in likra.rank(question, choices)]


@pytest.mark.parametrize(
    "script",
    [
        # All of transformers is there for whoever asks for it after the quick import.
        "from transformers import GPT2LMHeadModel, pipeline; import transformers; transformers.Trainer",
        "import transformers.models; transformers.models.gpt2.modeling_gpt2.GPT2LMHeadModel",
        "import accelerate, scipy.optimize, torch._dynamo; torch._dynamo.config; torch.compile(abs)",
        "import torch; assert torch.distributed.is_available()",
        "from peft import LoraConfig, get_peft_model",
        "from transformers import AutoTokenizer; AutoTokenizer.register",
    ],
)
def test_the_rest_of_transformers_can_be_had(script: str, run: Run) -> None:
    ran = run([sys.executable, "-c", f"from likra.cli import quick; quick.import_transformers(); {script}"])
    assert ran.returncode == 0, ran.stderr


def test_the_process_ends_with_its_code(run: Run) -> None:
    for more, code in ((["--version"], 0), (["score", "--no-such-option"], 2)):
        ran = run([sys.executable, "-m", "likra", *more])
        assert ran.returncode == code and (ran.stdout or ran.stderr)
