"""What a user would do instead: list the options in the prompt, and let the base, or SFT, choose a letter."""

import dataclasses
from string import ascii_uppercase

from likra.data.templates import template
from likra.lab.runner.jobs import Job
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import POSITIVE, Task
from likra.scoring.likelihoods import Floats
from likra.utils.embedded import embedded_models

STYLE = "options"

#: Method -> its title; beside the paper's methods (`likra.scoring.METHOD_TITLES`).
OPTIONS_TITLES = {"base_options": "Base, options in the prompt", "sft_options": "SFT, options in the prompt"}

# What has no options to list, where sources are not looked at.
_WITHOUT = ("blimp", "winogrande")


def options_jobs(plan: Plan, task: Task) -> list[dict[int, Job]]:
    """seed -> the job that trains a positive adapter on prompts that list the options; none where there are none."""
    return [plan.heads(_listing(task), (POSITIVE,))] if _has_options(task, plan.dry) else []


def options_outcome(outcome: Outcome) -> Outcome | None:
    """What those jobs say, whose methods are `base` and `sft`; None where there are none."""
    jobs = options_jobs(outcome.plan, outcome.task)
    return outcome.beside(_listing(outcome.task), jobs) if jobs else None


def options_credits(outcome: Outcome, size: int) -> dict[str, Floats]:
    """Method, one of `OPTIONS_TITLES` -> credit [S, Q] at one size; empty where there are no options."""
    listing = options_outcome(outcome)
    return {f"{method}_options": listing.credit(method, size) for method in ("base", "sft")} if listing else {}


def _listing(task: Task) -> Task:
    return dataclasses.replace(task, style=STYLE)


def _has_options(task: Task, dry: bool) -> bool:
    """Whether questions of a task have choices that a prompt can list, and its own prompts do not list them."""
    if task.style == STYLE or task.model in embedded_models():
        return False  # an embedded model has never seen a letter before an option
    if dry:
        return task.data not in _WITHOUT
    source = dataclasses.replace(task, style=None).source
    own = template(source.style)
    if source.unpaired or source.style == "verbatim" or own.fills_blank or not own.has_prompt:
        return False
    return all(
        2 <= len(question.choices) <= len(ascii_uppercase) for some in source.questions.values() for question in some
    )
