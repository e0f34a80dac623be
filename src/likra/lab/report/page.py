"""The report of one or several studies: one self-contained page, and the figures beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from likra.lab.claims import verdicts
from likra.lab.report.canvas import as_svg, save_figure
from likra.lab.report.text import Section, short
from likra.lab.runner.results import pick
from likra.lab.study import STUDIES
from likra.utils.embedded import embedded_models
from likra.utils.files import new_file


def write_report(
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    out: Path,
    *,
    intro: Sequence[str] = (),
    more: Mapping[str, Section] | None = None,
) -> None:
    """Write `report.html`, and each figure as PNG and SVG in `figures/`.

    Args:
        table: The results.
        facts: How they were made, shown in a table: label -> value.
        out: The folder.
        intro: Paragraphs that come first; the claims of the paper are then left out.
        more: Study -> sentences and tables that follow its own.
    """
    sections = []
    for name in (name for name in STUDIES.names() if name in set(table["study"])):
        study, rows = STUDIES[name], pick(table, study=name)
        figures, said = study.figures(rows), study.section(rows)
        added = (more or {}).get(name, Section())
        for drawn in figures:
            save_figure(drawn.figure, out / "figures", drawn.name)
        sections.append(
            {
                "name": name,
                "title": study.title,
                "about": study.about,
                "figures": [{"svg": as_svg(drawn.figure), "caption": drawn.caption} for drawn in figures],
                "sentences": [*said.sentences, *added.sentences],
                "tables": [*said.tables, *added.tables],
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("likra.lab.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("study.html").render(
        sections=sections,
        intro=intro,
        verdicts=[] if intro else verdicts(table),
        short=short,
        facts=facts,
        organism=sorted(set(table["model"]) & set(embedded_models())),
    )
    with new_file(out / "report.html") as work:
        work.write_text(page, encoding="utf-8")
