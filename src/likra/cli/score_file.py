"""`likra score --data`: the candidates of any number of questions."""

import dataclasses
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.cli import options

if TYPE_CHECKING:
    from likra.hub.saved import Saved
    from likra.scoring.config import Scoring


def score_file(
    heads: Path,
    data: str,
    out: Path,
    *,
    template: str | None,
    text: str | None,
    scoring: "Scoring",
    memory: float | None,
    ray: str | None,
    json: bool,
    how: options.Loading,
) -> None:
    """Score a file, here or on a Ray cluster."""
    from likra.bulk.run import check_out, run
    from likra.data.asking import Asked
    from likra.data.sources.loading import learned_columns

    check_out(out, data)
    saved = how.read(heads)
    style = template or saved.style
    if style != saved.style:
        options.note(f"these heads learned prompts of the template {saved.style!r}, and are asked in {style!r}")
    asked = Asked(data, style, learned_columns(saved.training), text)
    runtime = options.runtime(memory)
    if ray:
        from likra.bulk import on_ray

        more = {**how.given, "model": how.base, "base_revision": how.base_revision}
        read = on_ray.reader(asked, out, on_ray.Heads(heads, more, scoring, runtime.memory), ray)
    else:
        from likra.bulk import here

        read = here.reader(asked, out, lambda: how.open(heads), scoring, runtime.memory)
    found = run(asked, out, _about(saved, how, style, scoring), read, runtime)
    if json:
        options.echo_json({**dataclasses.asdict(found), "out": str(out)})
    else:
        options.console().print(
            f"{found.candidates} candidates of {found.questions} questions ({found.records} records) are in {out}.",
            soft_wrap=True,
            markup=False,
        )


def _about(saved: "Saved", how: options.Loading, style: str, scoring: "Scoring") -> dict[str, str]:
    """What the scores depend on beside the questions, by the saved files: no model need be loaded to tell."""
    from likra.bulk.here import options_digest
    from likra.models.base import default_device
    from likra.utils.files import sha256
    from likra.utils.keys import digest
    from likra.utils.locations import MANIFEST

    # The device tells the dtype, where none is given.
    loaded: dict[str, Any] = {**dataclasses.asdict(how), "device": how.device or default_device()}
    return {
        "heads": sha256(saved.folder / MANIFEST),
        "options": digest([options_digest(saved, style, scoring), jsonlib.dumps(loaded, sort_keys=True)]),
    }
