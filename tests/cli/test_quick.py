"""Models that are made where they will be are those that transformers makes of shapes first."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from likra.cli import quick
from likra.models.base import load_base
from tests.conftest import ARCHITECTURES, PATIENCE, tiny_base


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_is_the_same_to_the_last_bit(architecture: str, dtype: str, tokenizer: Any, tmp_path: Path) -> None:
    tiny_base(tokenizer, architecture).model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    usual = load_base(str(tmp_path), dtype=dtype).model
    with quick.real_modules():
        quickly = load_base(str(tmp_path), dtype=dtype).model
    for kind in ("named_parameters", "named_buffers"):
        one, two = dict(getattr(usual, kind)()), dict(getattr(quickly, kind)())
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]), name
    assert quickly.dtype == usual.dtype and quickly.training == usual.training


def test_another_transformers_is_imported_as_usual() -> None:
    """One whose insides are not as expected: a module that is not there."""
    program = (
        "from likra.cli import quick\n"
        "quick._NEEDED = (*quick._NEEDED, 'no_such_module')\n"
        "quick.import_transformers()\n"
        "from likra.models.base import load_base\n"
        "with quick.real_modules():\n"
        "    base = load_base('world-tiny')\n"
        "import transformers, torch._dynamo\n"
        "print(type(transformers).__name__, hasattr(torch._dynamo, 'optimize'), base.rows > 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["_LazyModule", "True", "True"]
