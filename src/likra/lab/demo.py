"""The demo: the studies of the learning curve on one model, with the adapters of all seeds in one stack."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from likra.hub.folder import write_heads
from likra.lab.report.page import write_report
from likra.lab.report.text import Section, Table
from likra.lab.run import facts_of, run_studies, write_facts
from likra.lab.runner.heads import stack_names, stack_of
from likra.lab.runner.jobs import Store
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.snapshots import heads_path, load_heads
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task
from likra.lab.world import WORLD
from likra.scoring import likelihoods
from likra.training.config import TrainingConfig
from likra.utils.files import new_folder

STUDIES = ("curve", "likelihoods", "weights")
SHOWN_QUESTIONS = 10
_INTRO = (
    "Two small heads stand on one frozen language model. One is trained on right answers, the other on wrong ones. SFT "
    "picks the answer that the first finds likeliest; Likra picks the one with the largest ratio of the two.",
    "The ratio cancels what the two have in common, and leaves what one learned from right answers and the other from "
    "wrong ones. The dashed line is Likra's accuracy where the question is hidden: what lies above it was read.",
)
EMBEDDED = Task(WORLD, WORLD)


def run_demo(
    out: Path, sizes: Sequence[int], seeds: Sequence[int], learning_rate: float, task: Task = EMBEDDED
) -> pd.DataFrame:
    """Run the demo and write it to a folder: `heads/seedN/` and what a study writes, with the report's own words.

    Returns:
        The results.

    Raises:
        InputError: The embedded model's folder is not free, or the sizes do not allow a curve in one pass.
    """
    config = TrainingConfig(learning_rate=learning_rate)
    plan = Plan((task,), sizes=tuple(sizes), seeds=tuple(seeds), config=config, stacked=True)
    if task.model != WORLD:  # hours of work, which a second call goes on from
        return _run(plan, out)
    with new_folder(out) as work:
        return _run(plan, work)


def _run(plan: Plan, out: Path) -> pd.DataFrame:
    plans = [(name, plan) for name in STUDIES]
    table, _ = run_studies(plans, out)
    facts = facts_of(plans)
    write_facts(facts, out)
    if not (out / "heads").exists():
        with new_folder(out / "heads") as work:
            _write_heads(plan, Store(out), work)
    write_report(table, facts, out, intro=_INTRO, more={"curve": _questions(plan, Store(out))})
    return table


def _write_heads(plan: Plan, store: Store, out: Path) -> None:
    """Write the adapters of the largest size, a folder per seed, as `likra train` writes them."""
    [task], size = plan.tasks, plan.sizes[-1]
    job = plan.pair(task)[plan.seeds[0]]
    names = {seed: stack_names(job["heads"], job["seeds"], seed) for seed in plan.seeds}
    _, stack = stack_of(json.loads(job.settings), store.path(job))
    try:
        for name, weights in load_heads(heads_path(store.path(job), size)).items():
            stack.set_weights(name, weights, rank=plan.config.lora.r, scaling=stack.scaling(name))
        for seed, of_seed in names.items():
            roles = {likelihoods.POSITIVE: of_seed[POSITIVE], likelihoods.NEGATIVE: of_seed[NEGATIVE]}
            training = {"data": task.data, "negatives": NEGATIVE, "questions": size}
            config = dataclasses.replace(plan.config, seed=seed)
            write_heads(out / f"seed{seed}", stack, roles, config, plan.weight, task.source.style, training)
    finally:
        stack.remove()


def _questions(plan: Plan, store: Store) -> Section:
    """The first questions, with every candidate's log-likelihoods and ratio under the heads of the first seed."""
    [task], seed = plan.tasks, plan.seeds[0]
    size = min(plan.sizes, key=lambda size: abs(size - 64))  # where the paper's jump begins, or the nearest size
    table = Outcome(plan, store, task, [plan.pair(task)]).table(POSITIVE, seed, size)
    body = []
    for row, question in enumerate(table.questions[:SHOWN_QUESTIONS]):
        count = len(question.choices)
        right, wrong = (table.head(name)[row, :count] for name in (POSITIVE, NEGATIVE))
        ratio = right - plan.weight * wrong
        for place, choice in enumerate(question.choices):
            picked = {"SFT": place == np.argmax(right), "Likra": place == np.argmax(ratio)}
            marks = ["true"] * (place == question.answer) + [name for name, chosen in picked.items() if chosen]
            numbers = (f"{right[place]:.2f}", f"{wrong[place]:.2f}", f"{ratio[place]:+.3f}")
            body.append([question.text if place == 0 else "", choice, *numbers, ", ".join(marks)])
    caption = f"{SHOWN_QUESTIONS} questions after {size} training questions, seed {seed}; log-likelihoods in nats"
    return Section([], [Table(caption, ["question", "answer", "L+", "L-", "L+ - L-", "true, picked by"], body)])
