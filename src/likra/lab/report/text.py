"""How numbers and tables are written in a report."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from likra.lab.runner.results import pick

QUESTIONS = "training questions"

KIND_TITLES = {
    "incorrect": "incorrect (own near-misses)",
    "irrelevant": "irrelevant (other answers)",
    "unrelated": "unrelated (other source)",
    "all": "all own wrong choices",
    "mined": "mined from the base",
}
TEST_TITLES = {"own": "near-miss distractors", "random": "random distractors", "reworded": "reworded answers"}
HEAD_TITLES = {"positive": "positive head", "incorrect": "negative head"}


@dataclass(frozen=True)
class Table:
    """A table of text cells."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """Sentences and tables."""

    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def short(name: str) -> str:
    """A model's or a source's name with one folder before it at most.

    >>> short("/data/models/tiny"), short("world"), short("arc-paper:../shared/data")
    ('models/tiny', 'world', 'arc-paper:shared/data')
    """
    kind, colon, path = name.rpartition(":")
    return kind + colon + "/".join([part for part in path.split("/") if part not in ("", ".", "..")][-2:])


def slug(*names: str) -> str:
    """Names as part of a file's name."""
    return "-".join("".join(c if c.isalnum() else "-" for c in short(name)).strip("-") for name in names)


def name_of(rows: pd.DataFrame) -> str:
    """Model and source of the first row, for people."""
    return f"{short(rows['model'].iloc[0])}, {short(rows['data'].iloc[0])}"


def share(row: pd.Series) -> str:
    """An accuracy in percent, with its interval."""
    return f"{100 * row['value']:.1f}" + _interval(100 * row["low"], 100 * row["high"], ".1f")


def points(row: pd.Series) -> str:
    """A difference of accuracies in points, with its interval."""
    return f"{100 * row['value']:+.1f}" + _interval(100 * row["low"], 100 * row["high"], "+.1f")


def plain(row: pd.Series) -> str:
    """A number, with its interval."""
    return f"{row['value']:.3g}" + _interval(row["low"], row["high"], ".3g")


def _interval(low: float, high: float, form: str) -> str:
    return "" if math.isnan(low) else f" ({low:{form}} to {high:{form}})"


def p_value(row: pd.Series) -> str:
    """The p-value of a difference, where it has one."""
    return "" if math.isnan(row["p"]) else f"p = {row['p']:.2g}"


def pivot(
    rows: pd.DataFrame, caption: str, key: str, titles: Mapping[str, str], show: Callable[[pd.Series], str]
) -> Table:
    """One line per size, one column per label of a column `key`, in the order of the titles."""
    found = pick(rows, seed=-1)
    columns = [name for name in titles if name in set(found[key])]
    shown = found.assign(shown=[show(row) for _, row in found.iterrows()])
    cells = shown.pivot(index="size", columns=key, values="shown").reindex(columns=columns).fillna("")
    body = [[str(size), *texts] for size, texts in zip(cells.index, cells.to_numpy().tolist(), strict=True)]
    return Table(caption, [QUESTIONS, *(titles[name] for name in columns)], body)


def accuracies(rows: pd.DataFrame, titles: Mapping[str, str], key: str = "method") -> Table:
    """The accuracies by size and method."""
    return pivot(pick(rows, quantity="accuracy"), "accuracy in percent, 95% interval", key, titles, share)
