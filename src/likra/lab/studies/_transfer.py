"""The matrix of transfer: heads of each source judged on the test questions of every other one, and blind."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likra.data.controls import BLIND
from likra.data.overlap import digest
from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Table, points, share, short, slug
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.runner.task import Task
from likra.scoring.bootstrap import Resampled, paired_p_value
from likra.scoring.likelihoods import Floats
from likra.scoring.scores import METHOD_TITLES

SHOWN = ("base", "sft", "likra")


def judged_by(task: Task) -> list[Task]:
    """The tasks whose test questions a task's heads are judged on; its own first."""
    return [task, *(other for other, test in task.elsewhere.values() if test == "own")]


def unseen(plan: Plan, trained: Task, judged: Task) -> NDArray[np.bool_]:
    """[Q] which of the test questions of one task no head of another one learned, whatever its seed."""
    learned = {digest(question) for seed in plan.seeds for question in trained.drawn(plan.sizes[-1], seed)}
    return np.array([digest(question) not in learned for question in judged.test()])


def add_transfer(outcome: Outcome, sheet: Sheet) -> None:
    """Add how heads of the largest size do on the test questions of their own source and of others.

    Rows, with the source judged on as `part`: `transfer` (accuracy), `transfer_gain` (over the base that is asked the
    question), `transfer_reading_gain` (over the same method that is not), and `left_out` (test questions that heads
    learned, where there are some).
    """
    task, plan = outcome.task, outcome.plan
    size = plan.sizes[-1]
    for place, judged in enumerate(judged_by(task)):
        unseen_Q = unseen(plan, task, judged)
        drawn = Resampled(len(plan.seeds), len(unseen_Q))
        before = f"to{place - 1}-" if place else ""
        labels = {"part": judged.data, "size": size, "count": int(unseen_Q.sum())}
        credits = {
            (method, test): np.where(unseen_Q, outcome.credit(method, size, test=before + test), np.nan)
            for test in ("own", BLIND)
            if judged.has(test)
            for method in METHODS
        }
        means: dict[tuple[str, str], Floats] = {key: drawn.means(credit_SQ) for key, credit_SQ in credits.items()}
        for (method, test), mean_R in means.items():
            sheet.add("transfer", mean_R, method=method, test=test, **labels)
            if method != "base":
                p = paired_p_value(credits[method, test][:, unseen_Q], credits["base", "own"][:, unseen_Q])
                sheet.add("transfer_gain", mean_R - means["base", "own"], method=method, test=test, p=p, **labels)
            if test == BLIND:
                sheet.add("transfer_reading_gain", means[method, "own"] - mean_R, method=method, **labels)
        if not unseen_Q.all():
            sheet.add("left_out", float((~unseen_Q).sum()), part=judged.data, size=size)


def by_model(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The matrix of each model: its rows `transfer`."""
    for model in rows["model"].drop_duplicates():
        yield pick(rows, quantity="transfer", model=model)


def _sources(cells: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys([*cells["data"], *cells["part"]]))


def matrix(cells: pd.DataFrame) -> canvas.Drawn | None:
    """Accuracies by what heads were trained on and judged on; None for a single source."""
    sources = _sources(cells)
    if len(sources) < 2:
        return None
    figure, both = canvas.blank(2 * (1.3 * len(sources) + 1.0), 0.95 * len(sources) + 2.4, columns=2, sharey=True)
    shown = cells[cells["method"].isin(SHOWN)]["value"]
    for axes, method in zip(both, ("sft", "likra"), strict=True):
        value_YX = np.full((len(sources) + 1, len(sources)), np.nan)
        for column, judged in enumerate(sources):
            base = pick(cells, part=judged, method="base").sort_values("count", ascending=False, kind="stable")
            of_rows = [
                base.drop_duplicates("test"),
                *(pick(cells, data=s, part=judged, method=method) for s in sources),
            ]
            for row, some in enumerate(of_rows):
                if not some.empty:
                    value_YX[row, column] = one(some, test="own")["value"]
                    bright = value_YX[row, column] < (shown.min() + shown.max()) / 2
                    colour = canvas.BLACK if bright else "white"
                    axes.text(column, row, _cell(some), ha="center", va="center", fontsize=9, color=colour)
        axes.imshow(value_YX, cmap="Blues", vmin=shown.min() - 0.05, vmax=shown.max() + 0.05, aspect="auto")
        axes.set_xticks(range(len(sources)), [short(source) for source in sources], fontsize=9, rotation=20)
        axes.set_yticks(range(len(sources) + 1), ["(the base)", *map(short, sources)], fontsize=9)
        axes.grid(False)
        axes.set_xlabel("judged on")
        axes.set_title(METHOD_TITLES[method], fontsize=13)
    both[0].set_ylabel("trained on")
    model, size = cells["model"].iloc[0], cells["size"].max()
    caption = f"Accuracy in percent by source, after {size} {QUESTIONS}; {short(model)}"
    note = "In brackets: 95% intervals over seeds and questions; below: without the question."
    return canvas.Drawn(f"transfer-{slug(model)}", f"{caption}. {note}", figure)


def _cell(some: pd.DataFrame) -> str:
    row, blind = one(some, test="own"), pick(some, test=BLIND)
    text = f"{100 * row['value']:.1f}\n({100 * row['low']:.0f}-{100 * row['high']:.0f})"
    return text if blind.empty else f"{text}\n{100 * blind['value'].iloc[0]:.1f} blind"


def cells_table(cells: pd.DataFrame) -> Table:
    """The matrix as a table: one line per pair of sources."""
    body = []
    for data in cells["data"].drop_duplicates():
        for judged in cells["part"].drop_duplicates():
            some = pick(cells, data=data, part=judged)
            if some.empty:
                continue
            found = [pick(some, method=method, test=test) for method in SHOWN for test in ("own", BLIND)]
            texts = ["" if one_cell.empty else share(one_cell.iloc[0]) for one_cell in found]
            body.append([short(data), short(judged), str(some["count"].iloc[0]), *texts])
    titles = [METHOD_TITLES[method] + blind for method in SHOWN for blind in ("", ", blind")]
    caption = f"{short(cells['model'].iloc[0])}: accuracy in percent by source, after {cells['size'].max()} {QUESTIONS}"
    return Table(caption, ["trained on", "judged on", "questions", *titles], body)


def said_of(rows: pd.DataFrame, cell: pd.Series) -> str:
    """What a cell of the matrix says about Likra."""
    labels = {"part": cell["part"], "method": "likra"}
    gains = {row["test"]: row for row in each(pick(rows, quantity="transfer_gain", **labels))}
    place = "its own test questions" if cell["part"] == cell["data"] else short(cell["part"])
    said = f"judged on {place}, Likra after {cell['size']} {QUESTIONS} is {points(gains['own'])} points above the base"
    if BLIND in gains:
        said += f"; without the question it is {points(gains[BLIND])} points above it"
    left_out = pick(rows, quantity="left_out", part=cell["part"])["value"]
    if len(left_out):
        said += f" ({left_out.iloc[0]:.0f} test questions that its heads learned are left out, {cell['count']} stay)"
    return f"{said}."
