"""Tables in terminals of any width: numbers whole, text folded."""

import pytest
from rich.table import Table
from rich.text import Text

from likra.cli.options import show_table


@pytest.mark.parametrize("columns", [10, 20, 40, 80, 200])
def test_numbers_are_whole_and_text_folds(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table(box=None, pad_edge=False)
    for name in ("", "candidate", "score", "L+", "L-"):
        table.add_column(name, justify="left" if name in ("", "candidate") else "right")
    texts = ["harp, no doubt [b]", "東京都の長い名前です", "anunbrokenwordofthirtycharacters"]
    numbers = [("+0.1154", "-14.215", "-14.331"), ("-10.0000", "-114.215", "-104.215"), ("+1.5000", "-1.215", "-2.715")]
    for place, (text, row) in enumerate(zip(texts, numbers, strict=True), start=1):
        table.add_row(f"{place}.", Text(text), *row)
    show_table(table)
    shown = capsys.readouterr().out
    assert "…" not in shown
    for row in numbers:
        assert any(all(number in line.split() for number in row) for line in shown.splitlines())
    pieces = "".join("".join(line.split()) for line in shown.splitlines())
    for text in texts:
        assert all(character in pieces for character in text if not character.isspace())
    assert max(map(len, shown.splitlines())) <= max(columns, 60)
