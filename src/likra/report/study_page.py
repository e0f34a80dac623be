"""The report of one or several studies: one self-contained page, and the figures beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from likra.builtin import WORLD_MODELS
from likra.files import new_file
from likra.report.canvas import as_svg, save_figure
from likra.report.figures import draw, short
from likra.report.sections import section
from likra.study.about import STUDIES
from likra.study.catalogue import study
from likra.study.claims import verdicts
from likra.study.results import Row


def write_report(rows: Sequence[Row], facts: Mapping[str, Any], out: Path) -> None:
    """Write `report.html`, and each figure as PNG and SVG in `figures/`.

    Args:
        rows: The results.
        facts: How they were made, shown in a table: label -> value.
        out: The folder.
    """
    sections = []
    for name in (name for name in STUDIES if any(row["study"] == name for row in rows)):
        figures = draw(name, rows)
        for drawn in figures:
            save_figure(drawn.figure, out / "figures", drawn.name)
        said = section(name, rows)
        sections.append(
            {
                "name": name,
                "title": study(name).TITLE,
                "about": STUDIES[name],
                "figures": [{"svg": as_svg(drawn.figure), "caption": drawn.caption} for drawn in figures],
                "sentences": said.sentences,
                "tables": said.tables,
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("likra.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("study.html").render(
        sections=sections,
        verdicts=verdicts(rows),
        short=short,
        facts=facts,
        organism=sorted({row["model"] for row in rows if row["model"] in WORLD_MODELS}),
    )
    with new_file(out / "report.html") as work:
        work.write_text(page, encoding="utf-8")
