"""Tables of texts and labels: what is read, what is kept with heads, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from likra import Likra, TrainingConfig, load
from likra.data import Prompter
from likra.data.sources import load_for, with_labels
from likra.errors import InputError
from likra.models.lora_config import lora_config
from likra.utils.runtime import QUIET
from tests.cli.test_cli import invoke
from tests.conftest import tiny_base

ROWS = [
    {"ticket": f"Ticket {n} of the shop.", "team": ["billing", "technical", "shipping"][n % 3], "split": "train"}
    for n in range(12)
]
ROWS[0]["split"] = ROWS[1]["split"] = "test"


def table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    if path.suffix == ".csv":
        lines = [delimiter.join(rows[0]), *(delimiter.join(str(row[name]) for name in rows[0]) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["a.csv", "semicolon.csv", "a.jsonl", "a.parquet"])
def test_every_label_is_a_choice_in_every_kind_of_file(name: str, tmp_path: Path) -> None:
    source = load(table(tmp_path / name, ROWS, ";" if "semi" in name else ","), text="ticket", label="team")
    assert source.form == "texts and labels" and source.columns is not None
    assert source.columns.labels == ("billing", "shipping", "technical")
    first, second = source.questions["test"]
    assert (first.text, first.choices, first.answer) == (ROWS[0]["ticket"], source.columns.labels, 0)
    assert second.choices[second.answer or 0] == "technical"
    assert Prompter(source.style).pairs(first)[0] == ("Question: Ticket 0 of the shop.\nAnswer:", " billing")
    assert load(str(tmp_path / name), "options", text="ticket", label="team").style == "options"


def test_names_that_mean_something_elsewhere_are_but_names(tmp_path: Path) -> None:
    rows = [{"question": row["ticket"], "labels": row["team"]} for row in ROWS]
    source = load(table(tmp_path / "a.csv", rows), text="question", label="labels")
    assert len(source.split("all")) == 12 and source.columns is not None and len(source.columns.labels) == 3


@pytest.mark.parametrize("values", [[0, 1, 2], [0.0, 1.0, 2.0], [True, False, True]])
def test_labels_that_are_numbers_or_booleans_are_their_text(values: list[Any], tmp_path: Path) -> None:
    rows = [{"t": f"Text {n}", "y": value} for n, value in enumerate(values * 4)]
    source = load(table(tmp_path / "a.jsonl", rows), text="t", label="y")
    assert source.columns is not None
    assert source.columns.labels == (("false", "true") if values[0] is True else ("0", "1", "2"))


def test_records_without_a_label_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [*ROWS, {"ticket": "New.", "team": "", "split": "train"}, {"ticket": "New too.", "team": None}]
    source = load(table(tmp_path / "a.jsonl", rows), text="ticket", label="team")
    assert source.skipped == {"the right answer is not given": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"team": ["billing"] * 12}, "field 'team' has the value 'billing' alone; labels to choose from must be two"),
        ({"team": [""] * 12}, "field 'team' is empty throughout"),
        ({"team": [str(n) for n in range(12)]}, "field 'team' has 12 different values in 12 records, too many"),
        ({"ticket": ["", *"abcdefghijk"]}, "line 1: field 'ticket' is empty"),
        ({"ticket": [3, *"abcdefghijk"]}, "line 1: field 'ticket' is int, not text"),
        (
            {"team": ["Billing", *["billing", "other"] * 5, "x"]},
            "line 1: field 'team' is 'Billing', and elsewhere 'billing' (line 2)",
        ),
        ({"team": [["a"], *"bcbcbcbcbcb"]}, "line 1: field 'team' is list, not a label"),
        ({"team": [0.5, *"bcbcbcbcbcb"]}, "line 1: field 'team' is float, not a label"),
    ],
)
def test_columns_that_are_none_are_refused_in_one_line(
    change: dict[str, list[Any]], message: str, tmp_path: Path
) -> None:
    [(field, values)] = change.items()
    path = table(tmp_path / "a.jsonl", [row | {field: value} for row, value in zip(ROWS, values, strict=True)])
    with pytest.raises(InputError) as caught:
        load(path, text="ticket", label="team")
    assert str(caught.value).startswith(path) and message in str(caught.value) and "\n" not in str(caught.value)


def test_three_hundred_values_are_no_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [{"t": f"Text {n}", "y": f"y{n % 300}"} for n in range(1200)])
    with pytest.raises(InputError, match=r"a.csv: field 'y' has 300 different values in 1200 records, too many"):
        load(path, text="t", label="y")


def test_fields_that_are_not_there(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ROWS)
    with pytest.raises(InputError, match=r"a.csv, line 2: has no field 'mail'; its fields are ticket, team, split"):
        load(path, text="mail", label="team")
    with pytest.raises(InputError, match="text and label are both the field 'team'"):
        load(path, text="team", label="team")
    with pytest.raises(InputError, match="text and label name the two fields"):
        load(path, text="ticket")
    with pytest.raises(InputError, match="or a table of texts and labels, whose two fields --text and --label name"):
        load(path)


def test_heads_keep_fields_and_labels(tokenizer: Any, tmp_path: Path) -> None:
    source = load(table(tmp_path / "a.csv", ROWS), text="ticket", label="team")
    config = TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=2)
    likra = Likra.from_base(tiny_base(tokenizer), training_config=config).fit(source, runtime=QUIET)
    assert likra.training["columns"] == {
        "text": "ticket",
        "label": "team",
        "labels": ["billing", "shipping", "technical"],
    }
    # A file with one of the labels only, and without a word on its fields.
    few = table(tmp_path / "few.csv", [row | {"split": "test"} for row in ROWS if row["team"] == "billing"])
    result = likra.evaluate(few, runtime=QUIET)
    assert result.count == 4 and result.likelihoods.questions[0].choices == ("billing", "shipping", "technical")
    # Fields of other names, and a source that was loaded before.
    renamed = table(tmp_path / "renamed.csv", [{"t": row["ticket"], "y": row["team"]} for row in ROWS[:2]])
    other = load_for(renamed, likra.training, text="t", label="y")
    assert other.split("all")[0].choices == ("billing", "shipping", "technical")
    with pytest.raises(
        InputError, match=r"lacks a field that .* \('ticket', 'team'\).* the fields t, y; .*--text FIELD --label"
    ):
        load_for(renamed, likra.training)
    loaded = with_labels(load(renamed, text="t", label="y"), likra.training["columns"]["labels"])
    assert loaded == other
    # Data of another form is read in its own.
    (tmp_path / "quiz.jsonl").write_text('{"question": "Q?", "choices": ["a", "b"], "answer": 0, "split": "test"}\n')
    assert likra.evaluate(str(tmp_path / "quiz.jsonl"), runtime=QUIET).count == 1
    odd = table(tmp_path / "odd.csv", [ROWS[0] | {"team": "sales"}, *ROWS[1:]])
    for ask in (
        lambda: likra.evaluate(odd, runtime=QUIET),
        lambda: likra.evaluate(load(odd, text="ticket", label="team"), runtime=QUIET),
    ):
        with pytest.raises(InputError, match=r"odd.csv, line 2: field 'team' is 'sales', which is not among"):
            ask()


def test_the_command_line(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ROWS)
    shown = invoke("data", path, "--text", "ticket", "--label", "team")
    assert shown.exit_code == 0 and "billing, shipping, technical" in shown.stdout
    refused = invoke("data", path, "--text", "ticket")
    assert "--text and --label name the two columns of a table" in str(refused.exception)
