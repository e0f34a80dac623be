"""What commands write where the system is not as they would like it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError

from likra.data import Prompter, Question
from likra.engine import cache as cache_module
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.models.base import Base
from likra.utils.files import claimed, new_file, new_folder, unfinished, write_json
from likra.utils.runtime import ENVIRONMENT, Runtime


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_encoding_of_standard_output(encoding: str, tmp_path: Path) -> None:
    data = tmp_path / "ja.jsonl"
    data.write_text('{"question":"日本の首都は？","choices":["東京","Łódź"],"answer":"東京"}\n', encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "likra", "data", str(data)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0 and b"Traceback" not in ran.stderr
    shown = ran.stdout.decode(encoding)
    assert ("東京" if encoding == "utf-8" else "\\u6771\\u4eac") in shown


def test_json_is_json_in_any_encoding() -> None:
    code = "from likra.cli.options import echo_json; echo_json(['é', '東京', '😀'])"
    for encoding in ("ascii", "cp1252", "utf-8"):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=300,
            check=True,
        )
        assert json.loads(ran.stdout.decode(encoding)) == ["é", "東京", "😀"]


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o077, 0o700, 0o600), (0o022, 0o755, 0o644)])
def test_who_may_read_is_what_the_umask_says(umask: int, folder: int, file: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "heads") as work:
            (work / "one").write_text("x")
        write_json(tmp_path / "two.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "heads").stat().st_mode & 0o777 == folder
    assert (tmp_path / "heads" / "one").stat().st_mode & 0o777 == file
    assert (tmp_path / "two.json").stat().st_mode & 0o777 == file


def test_what_the_system_refuses_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match=r"one\.json: cannot be written \(No space left on device\)")
    with refused, new_file(tmp_path / "one.json"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert not list(tmp_path.iterdir())


def test_two_runs_never_write_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "heads"
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with claimed(out):
        for spelled in (out, tmp_path / "." / "heads", Path(os.path.relpath(out)), tmp_path / "x" / ".." / "heads"):
            with pytest.raises(InputError, match="another run is writing there"), claimed(spelled):
                pass
    assert not unfinished(out).exists()
    with claimed(out):  # free again
        pass


def test_a_cache_that_cannot_be_written_costs_no_table(
    tmp_path: Path, base: Base, questions: list[Question], caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, a file in the folder's place, no home: the likelihoods are there, and a warning."""
    expected = score(base, None, questions[:3], Prompter("qa")).logprob_HQC
    (tmp_path / "file").write_text("")
    found = score(base, None, questions[:3], Prompter("qa"), cache=tmp_path / "file").logprob_HQC
    assert np.array_equal(found, expected, equal_nan=True)
    assert "likelihoods are not kept" in caplog.text


def test_a_full_disk_costs_no_table(
    tmp_path: Path, base: Base, questions: list[Question], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(cache_module, "save_file", full)
    table = score(base, None, questions[:3], Prompter("qa"), cache=tmp_path / "kept")
    assert np.isfinite(table.logprob_HQC[0, 0, 0]) and "No space left on device" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(ENVIRONMENT)
    monkeypatch.setattr(Path, "home", homeless)
    assert Runtime().cache_folder is None
    assert "no home" in caplog.text
