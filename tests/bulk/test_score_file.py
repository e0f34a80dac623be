"""Files of candidates: the scores of `Likra.score`, row for row, however often the run is killed."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from likra.bulk.formats import COLUMNS
from likra.bulk.here import Scorer, score_file
from likra.bulk.parts import Part
from likra.cli.app import app
from likra.data import load
from likra.errors import InputError
from likra.likra import Likra
from likra.models import base
from likra.scoring.config import Scoring
from likra.utils.files import unfinished
from likra.utils.runtime import QUIET, Runtime
from tests.conftest import PATIENCE, Spawn, until

#: A question is read beside others in a file, and by itself by `Likra.score`: float32 rounds otherwise.
NEAR = 1e-4
EXACT = ("record", "question", "choice", "text", "withheld", "cut")
Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def likra() -> Likra:
    """Trained and calibrated heads."""
    trained = Likra.from_base("world-tiny").fit("world", limit=64, runtime=QUIET)
    trained.calibration = trained.calibrate("world", split="test", limit=100, runtime=QUIET)  # if it helps or not
    return trained


@pytest.fixture(scope="module")
def heads(likra: Likra, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "heads"
    likra.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def records() -> Records:
    """New questions of two to five candidates, in the world's words; in some of them two candidates have one text."""
    draw = random.Random(0)
    known = load("world").split("test")
    texts = sorted({choice for question in known for choice in question.choices})
    made: Records = []
    for number in range(60):
        choices = draw.sample(texts, 2 + number % 4)
        if number % 7 == 3:
            choices.append(choices[0])
        made.append({"id": f"n{number}", "question": draw.choice(known).text, "choices": choices})
    return made


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likra.bulk.parts.SIZE", 16)


def written(path: Path, records: Records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def rows(path: Path) -> Records:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    found: Records = parquet.read_table(path).to_pylist()
    return found


def outputs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "scores")))


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize("scoring", [Scoring(), Scoring(weight=0.5, normalization="token"), Scoring("sft")])
def test_a_row_for_each_candidate_as_score_has_it(
    scoring: Scoring, likra: Likra, records: Records, tmp_path: Path
) -> None:
    data = written(tmp_path / "new.jsonl", records)
    expected: Records = []
    for number, record in enumerate(records):
        scored = likra.score(record["question"], record["choices"], scoring=scoring)
        for place, one in enumerate(scored):
            expected.append({"record": number, "question": record["id"], "choice": place, "cut": 0, **vars(one)})
    for suffix in (".jsonl", ".parquet"):
        out = tmp_path / f"scores{suffix}"
        found = score_file(likra, data, out, scoring=scoring, runtime=QUIET)
        assert (found.records, found.questions) == (60, 60)
        got = rows(out)
        assert found.candidates == len(got) == len(expected)
        for row, other in zip(got, expected, strict=True):
            assert list(row) == list(COLUMNS) and row.keys() == other.keys()
            assert {name: row[name] for name in EXACT} == {name: other[name] for name in EXACT}
            numbers = [name for name in COLUMNS if name not in EXACT and other[name] is not None]
            assert [row[name] for name in numbers] == pytest.approx([other[name] for name in numbers], abs=NEAR)
            assert [name for name in row if row[name] is None] == [name for name in other if other[name] is None]
        assert (got[0]["probability"] is not None) == (scoring == Scoring())
    assert rows(tmp_path / "scores.parquet") == rows(tmp_path / "scores.jsonl")
    assert outputs(tmp_path) == ["scores.jsonl", "scores.parquet"]


class Killed(BaseException):
    """As a process ends that is killed: no `except Exception` sees it."""


def killed_after(parts: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a run end once so many parts are scored; gives the names of those that are, as they are."""
    scored: list[str] = []
    rows_of: Callable[..., Any] = Scorer.rows

    def rows(self: Scorer, part: Part, *more: Any) -> Any:
        if len(scored) == parts:
            raise Killed
        scored.append(part.name)
        return rows_of(self, part, *more)

    monkeypatch.setattr(Scorer, "rows", rows)
    return scored


def killed(likra: Likra, data: Path, out: Path, parts: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run that ends once so many parts are scored; gives their names."""
    with monkeypatch.context() as patch:
        scored = killed_after(parts, patch)
        with pytest.raises(Killed):
            score_file(likra, data, out, runtime=QUIET)
    return scored


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_killed_run_goes_on_where_it_was(
    suffix: str, likra: Likra, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, whole, out = (
        written(tmp_path / "new.jsonl", records),
        tmp_path / f"whole{suffix}",
        tmp_path / f"scores{suffix}",
    )
    score_file(likra, data, whole, runtime=QUIET)
    seen: list[str] = []
    for parts in (0, 3, 1, 4):
        scored = killed(likra, data, out, parts, monkeypatch)
        assert len(scored) == parts and not out.exists()
        # A file that was being written is left over, as by a process that is killed.
        unfinished(out).mkdir(exist_ok=True)
        (unfinished(out) / f".000008-half{suffix}.tmp-1").write_text("half")
        seen += scored
    with monkeypatch.context() as patch:
        seen += (rest := killed_after(1000, patch))
        assert score_file(likra, data, out, runtime=QUIET).questions == 60
        seen += rest
    assert len(set(seen)) == len(seen) > 8  # nothing twice
    assert out.read_bytes() == whole.read_bytes()
    assert outputs(tmp_path) == [f"scores{suffix}"]


@pytest.mark.usefixtures("in_small_parts")
def test_another_run_does_not_go_on_with_it(
    likra: Likra, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = written(tmp_path / "new.jsonl", records), tmp_path / "scores.jsonl"
    killed(likra, data, out, 3, monkeypatch)
    before = sorted(path.name for path in unfinished(out).iterdir())
    others = Likra.from_base("world-tiny").fit("world", limit=8, runtime=QUIET)
    others.calibration = likra.calibration
    changed = [{**records[0], "question": "Which instrument?"}, *records[1:]]
    for scorer, some, how, said in (
        (others, records, {}, "with other heads"),
        (likra, records, {"scoring": Scoring(weight=2.0)}, "with other options"),
        (likra, records, {"style": "plain"}, "with other options"),
        (likra, changed, {}, "on other data"),
        (likra, records[:10], {}, "on other data"),
    ):
        with pytest.raises(InputError, match=rf"partial: holds the unfinished work of another run, {said}"):
            score_file(scorer, written(data, some), out, runtime=QUIET, **how)  # type: ignore[arg-type]
        assert sorted(path.name for path in unfinished(out).iterdir()) == before and not out.exists()
    # What comes after the finished parts may be mended, or more may come.
    longer = [*records, {"question": "Which city?", "choices": ["surely Rome", "maybe Rome"]}]
    score_file(likra, written(data, longer), out, runtime=QUIET)
    score_file(likra, data, tmp_path / "whole.jsonl", runtime=QUIET)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_bad_record_is_refused_before_anything_is_scored(
    likra: Likra, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_after(0, monkeypatch)
    data = written(tmp_path / "new.jsonl", [*records, {"question": "Which?", "choices": ["a", 2]}])
    with pytest.raises(InputError, match=r"new\.jsonl, line 61: field 'choices': choice 1 is the number 2"):
        score_file(likra, data, tmp_path / "scores.jsonl", runtime=QUIET)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"empty\.jsonl: holds no records"):
        score_file(likra, tmp_path / "empty.jsonl", tmp_path / "scores.jsonl", runtime=QUIET)
    assert outputs(tmp_path) == []


def test_a_candidate_that_is_too_long_is_refused_and_the_rest_is_kept(
    likra: Likra, records: Records, tmp_path: Path, in_small_parts: None
) -> None:
    long = {"question": "Which?", "choices": ["a " * 2000, "b"]}
    data = written(tmp_path / "new.jsonl", [*records[:20], long, *records[20:]])
    with pytest.raises(InputError, match=r"new\.jsonl, line 21: "):
        score_file(likra, data, tmp_path / "scores.jsonl", runtime=QUIET)
    assert outputs(tmp_path) == ["scores.jsonl.partial"]
    written(data, [*records[:20], {**long, "choices": ["a", "b"]}, *records[20:]])
    assert score_file(likra, data, tmp_path / "scores.jsonl", runtime=QUIET).records == 61


def test_progress_counts_candidates_also_of_an_earlier_run(
    likra: Likra, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_small_parts: None
) -> None:
    data, out = written(tmp_path / "new.jsonl", records), tmp_path / "scores.jsonl"
    killed(likra, data, out, 3, monkeypatch)
    moves: list[tuple[int, int | None]] = []
    runtime = Runtime(cache=False, progress=lambda done, total, note="": moves.append((done, total)))
    found = score_file(likra, data, out, runtime=runtime)
    scoring = [done for done, total in moves if total is not None]
    assert scoring == sorted(scoring) and 33 <= scoring[0] <= 48 and scoring[-1] == found.candidates


def test_records_in_memory_and_decisions(likra: Likra, tmp_path: Path) -> None:
    team = {"type": "choice", "instructions": "Which team?", "criteria": {"web": None, "bills": "Charges"}}
    frame = pd.DataFrame(
        {"state": ["I paid twice.", "Login fails."], "questions": [{"team": team}, {"team": team, "again": team}]}
    )
    found = score_file(likra, frame, tmp_path / "scores.parquet", runtime=QUIET)
    assert (found.records, found.questions, found.candidates) == (2, 3, 6)
    got = rows(tmp_path / "scores.parquet")
    assert [row["record"] for row in got] == [0, 0, 1, 1, 1, 1]
    assert [row["question"].rpartition(" ")[2] for row in got] == ["team", "team", "team", "team", "again", "again"]
    expected = likra.score("I paid twice.\n\nWhich team?\nbills: Charges", ["web", "bills"])
    assert [row["score"] for row in got[:2]] == pytest.approx([one.score for one in expected], abs=NEAR)


def test_thumbs_have_the_probability_of_a_lone_candidate(tmp_path: Path) -> None:
    known = [question for question in load("world").split("train")[:40] if question.answer is not None]
    thumbs = [
        {"prompt": q.text, "completion": f" {q.choices[place]}", "label": place == q.answer}
        for q in known
        for place in (q.answer, (q.answer + 1) % len(q.choices))
    ]
    lone = Likra.from_base("world-tiny").fit(thumbs, runtime=QUIET)
    lone.calibrate(thumbs, split="all", runtime=QUIET)
    new = [{name: value for name, value in thumb.items() if name != "label"} for thumb in thumbs[:20]]
    for some in (new, thumbs[:20]):
        score_file(lone, some, tmp_path / "scores.jsonl", runtime=QUIET)
        for row, thumb in zip(rows(tmp_path / "scores.jsonl"), some, strict=True):
            [one] = lone.score(thumb["prompt"], [thumb["completion"]])
            assert (row["score"], row["probability"]) == pytest.approx((one.score, one.probability), abs=NEAR)
            assert row["text"] == thumb["completion"]


def test_the_command_reads_a_csv_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"ticket": [f"I paid {n} times." for n in range(12)], "team": ["bills", "web"] * 6})
    trained = Likra.from_base("world-tiny").fit(load(table, text="ticket", label="team"), runtime=QUIET)
    trained.save_pretrained("heads")
    Path("new.csv").write_text("ticket\nI was charged twice.\nThe page is down.\n")
    Path("other.csv").write_text("nr;message\n1;I was charged twice.\n2;The page is down.\n")
    for more in (["new.csv"], ["other.csv", "--text", "message"]):
        ran = CliRunner().invoke(app, ["score", "heads", "--out", "scores.parquet", "--json", "--data", *more])
        assert ran.exit_code == 0, ran.output
        assert json.loads(ran.stdout) == {"records": 2, "questions": 2, "candidates": 4, "out": "scores.parquet"}
        got = rows(Path("scores.parquet"))
        assert [row["text"] for row in got] == ["bills", "web"] * 2
        expected = trained.score("The page is down.", ["bills", "web"])
        assert [row["score"] for row in got[2:]] == pytest.approx([one.score for one in expected], abs=NEAR)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--question", "Which?"], "give --question and a --choice for each candidate, or --data and --out"),
        (["--data", "new.jsonl"], "or else --data and --out"),
        (["--data", "new.jsonl", "--out", "s.jsonl", "--choice", "a"], "or else --data and --out"),
        (["--question", "Q?", "--choice", "a", "--ray", "auto"], "--ray: is for a file of questions"),
        (["--question", "Q?", "--choice", "a", "--text", "x"], "--text: is for a file of questions"),
        (["--data", "new.jsonl", "--out", "s.csv"], r"let its name end in .parquet or .jsonl"),
        (["--data", "new.jsonl", "--out", "new.jsonl"], "is the data that is scored"),
        (["--data", "no.jsonl", "--out", "s.jsonl"], r"no\.jsonl: no such file"),
        (["--data", "new.jsonl", "--out", "s.jsonl", "--text", "x"], "learned no table"),
        (["--data", "new.jsonl", "--out", "s.jsonl", "--template", "x"], "style must be one of"),
        (["--data", "new.jsonl", "--out", "s.jsonl", "--ray", "127.0.0.1:1"], "no cluster there"),
    ],
)
def test_what_the_command_refuses(
    arguments: list[str], said: str, heads: Path, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("new.jsonl"), records)
    with pytest.raises(InputError, match=said):
        CliRunner().invoke(app, ["score", str(heads), *arguments], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["new.jsonl"]


@pytest.fixture(scope="module")
def whole(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of all of the world's 3,264 candidates, which are two parts."""
    out = tmp_path_factory.mktemp("whole") / "scores.jsonl"
    ran = CliRunner().invoke(app, ["score", str(heads), "--data", "world", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    return out


def test_a_process_that_is_killed(heads: Path, whole: Path, spawn: Spawn, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    command = [sys.executable, "-m", "likra", "score", str(heads), "--data", "world", "--out", str(out)]
    process = spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # A moment that was missed, because the machine did other things, is a kill at a later one.
    until(lambda: any(unfinished(out).glob("0*.jsonl")) or process.poll() is not None)
    process.kill()
    process.wait(PATIENCE)
    ran = CliRunner().invoke(app, command[3:])
    assert ran.exit_code == 0, ran.output
    assert out.read_bytes() == whole.read_bytes() and outputs(tmp_path) == ["scores.jsonl"]


@pytest.mark.usefixtures("in_small_parts")
def test_heads_that_were_calibrated_meanwhile_and_another_device_are_another_run(
    heads: Path, likra: Likra, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, own = written(tmp_path / "new.jsonl", records), tmp_path / "scores.jsonl", tmp_path / "heads"
    shutil.copytree(heads, own)
    command = ["score", str(own), "--data", str(data), "--out", str(out)]
    with monkeypatch.context() as patch:
        killed_after(1, patch)
        with pytest.raises(Killed):
            CliRunner().invoke(app, command, catch_exceptions=False)
    with monkeypatch.context() as patch:
        patch.setattr(base, "default_device", lambda: "cuda")
        with pytest.raises(InputError, match="with other options"):
            CliRunner().invoke(app, command, catch_exceptions=False)
    (own / "calibration.json").unlink()
    with pytest.raises(InputError, match="with other options"):
        CliRunner().invoke(app, command, catch_exceptions=False)
