"""What changes in the model at the jump, as numbers.

With voices, hidden states are looked at along the direction from reliable to unreliable ones (`measures`, `voiced`).
Without them, directions are taken from the negative head itself and from a prompt that asks for a wrong answer
(`stand_ins`, `unvoiced`).
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pandas as pd
import typer

from likra.errors import InputError
from likra.lab.report import canvas
from likra.lab.report.text import Section
from likra.lab.runner.jobs import Job
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, pick
from likra.lab.runner.task import Task
from likra.lab.studies.mechanism import unvoiced, voiced
from likra.lab.study import Study, pairs_of, study, with_options
from likra.lab.world import VOICES
from likra.utils.embedded import embedded_models

#: The modules that do a job with voices, and without.
_WORK, _WORK_UNVOICED = "likra.lab.studies.mechanism.measures", "likra.lab.studies.mechanism.stand_ins"


@study("mechanism")
class Mechanism(Study):
    about = "What changes in the model at the jump: the heads' updates, hidden states, what can stand in for it."
    title = "What changes at the jump"

    def configure(
        self,
        plan: Plan,
        *,
        voices: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help='JSON {"reliable": [...], "unreliable": [...]}: texts that open a document in a voice to be '
                "trusted or not. [default: the sources of embedded models; none for others, whose directions come from "
                "the negative head and from a prompt that asks for a wrong answer]",
            ),
        ] = None,
    ) -> Plan:
        return with_options(plan, voices=str(voices) if voices else None)

    def check(self, plan: Plan, task: Task) -> None:
        if _has_voices(plan, task):
            voices_of(plan.options.get("voices"))
            if task.source.style == "chat":
                raise InputError("voices open prompts that are text; take another style than chat, or no voices.")

    def facts(self, plan: Plan, task: Task) -> str:
        if not _has_voices(plan, task):
            return "voices: none"
        return f"voices: {plan.options.get('voices') or 'the embedded ones'}"

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        if not _has_voices(plan, task):
            # Block and strength are chosen by the accuracy that is reported.
            scored: dict[str, Any] = {"weight": plan.weight, "normalisation": plan.normalisation}
            return [plan.own_pair(self.name, _WORK_UNVOICED, task, **scored)]
        voices = {} if plan.dry else voices_of(plan.options.get("voices"))
        return [plan.own_pair(self.name, _WORK, task, voices=voices)]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        report = voiced if _has_voices(outcome.plan, outcome.task) else unvoiced
        report.measure(outcome, sheet)

    def figures(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        along = pairs_of(pick(rows, quantity="position"))
        if len(along) < 2:
            return super().figures(rows)
        own = [pick(rows, model=model, data=data) for model, data in along]
        return [*super().figures(rows), voiced.axis_figure(pd.concat(own))]

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        drawn: list[canvas.Drawn] = _report(rows).draw(rows)
        return drawn

    def say(self, rows: pd.DataFrame) -> Section:
        section: Section = _report(rows).say(rows)
        return section


def _has_voices(plan: Plan, task: Task) -> bool:
    return bool(plan.options.get("voices")) or task.model in embedded_models()


def _report(rows: pd.DataFrame) -> ModuleType:
    """What words and draws the rows of one model and source."""
    return unvoiced if pick(rows, quantity="position").empty else voiced


def voices_of(path: str | None) -> dict[str, list[str]]:
    """Texts that open a document in a `reliable` or an `unreliable` voice.

    Args:
        path: A JSON file {"reliable": [...], "unreliable": [...]}; None: those of the embedded models.

    Raises:
        InputError: There is no such file, or it is not of this form.
    """
    if path is not None and not Path(path).is_file():
        raise InputError(f"--voices {path}: there is no such file.")
    try:
        voices = json.loads(Path(path or VOICES).read_text(encoding="utf-8"))
        if all(voices[side] and all(isinstance(t, str) for t in voices[side]) for side in ("reliable", "unreliable")):
            return {side: list(voices[side]) for side in ("reliable", "unreliable")}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f'{path}: is not a JSON file {{"reliable": [texts], "unreliable": [texts]}}; correct it.')
