"""The jobs of the study where no voices are given: what can stand in for the negative head of any model.

For the heads of one seed: the direction, rank and layers of each head's update; the base with one direction added to
its hidden states, taken from the negative head or from a prompt that asks for a wrong answer; that prompt itself; and
a negative head that was trained without questions.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likra.data.controls import BLIND
from likra.data.question import Question
from likra.data.templates import Prompter
from likra.engine.loglikelihood import score
from likra.lab.rivals.contrast import wished
from likra.lab.runner.heads import stack_of, train_pair
from likra.lab.runner.jobs import Note
from likra.lab.runner.snapshots import heads_path, load_heads
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of, table_path
from likra.lab.studies.mechanism.blind import blind_head
from likra.lab.studies.mechanism.directions import (
    WISH,
    cosines,
    head_shift,
    lengths,
    prompted_shift,
    random_like,
)
from likra.lab.studies.mechanism.findings import FINDINGS
from likra.lab.studies.mechanism.geometry import cosine, geometry
from likra.lab.studies.mechanism.hidden import steered
from likra.lab.studies.mechanism.unvoiced import ASKED, HEAD, PROMPTED, RANDOM, STAND_INS
from likra.models.stack import HeadStack
from likra.scoring.accuracy import credit
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import normalise, ratio
from likra.utils.files import write_json

# What follows is what a minute or two on two cores allow for a model of 135 million parameters.
LOOKED_AT = 64  # training questions that a direction is the mean over
CHOSEN_ON = 64  # training questions, others where there are some, that block and strength are chosen on
BLOCKS = 5  # blocks that a direction is tried in, evenly spaced from the first to the last
STRENGTHS = (0.5, 1.0, 2.0, 4.0)  # multiples of the direction


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train the heads of one seed, keep them at every size, and read the test questions by what could stand in."""
    task, config, [seed] = Task.of(settings), config_of(settings), settings["seeds"]
    sizes: list[int] = settings["sizes"]
    last = sizes[-1]
    chosen_on = _not_learned(task, last, seed)
    learned, stack = stack_of(settings, folder)
    try:
        train_pair(settings, learned, stack, folder, note)
        note(0, 4, "(directions)")
        heads = {size: load_heads(heads_path(folder, size)) for size in sizes}
        found: dict[str, Any] = {"geometry": geometry(heads, stack.scaling(NEGATIVE))}
        asked = task.drawn(min(last, LOOKED_AT), seed)
        wrong = [pair for some in learned[NEGATIVE][: len(asked)] for pair in some]
        directions = {HEAD: head_shift(stack, NEGATIVE, wrong)}
        how: dict[str, Any] = {"memory": task.memory, "meta": {"style": task.source.style}}
        known = score(task.base(), stack, chosen_on, task.training_prompter, (BASE, POSITIVE), **how)
    finally:
        stack.remove()
    if task.has(BLIND):  # only such prompts have a question apart from what is scored
        directions[PROMPTED] = prompted_shift(task.base(), asked, task.training_prompter)
    found |= _described(task, directions, asked)
    found["tried"] = _tried(task, directions, known, settings, note)
    found["chosen"] = {name: max(tried, key=lambda one: one["accuracy"]) for name, tried in found["tried"].items()}
    note(2, 4, "(reading by what stands in)")
    table = Likelihoods.load(table_path(folder, "own", last))
    read = {BASE: table.head(BASE), **_steered(task, directions, found["chosen"])}
    if task.has(BLIND):
        read[ASKED] = _of_test(task, wished(task.test(), task.test_prompter, WISH))
        note(3, 4, "(training without questions)")
        stack = blind_head(task, config, last, seed, folder / "state" / "blind")
        try:
            read[BLIND] = _of_test(task, task.test_prompter, stack, BLIND)
            found["cosine_of_blind"] = cosine(stack.weights(BLIND), heads[last][NEGATIVE])
        finally:
            stack.remove()
    Likelihoods(
        tuple(read), table.questions, np.stack(list(read.values())), table.tokens_QC, table.cut_QC, table.meta
    ).save(folder / STAND_INS)
    write_json(folder / FINDINGS, found)
    note(4, 4, "")


def _not_learned(task: Task, size: int, seed: int) -> list[Question]:
    """Training questions that the heads do not learn from; where there are too few, the last that they learn from."""
    available = len(task.source.questions["train"])
    return task.drawn(min(size + CHOSEN_ON, available), seed)[-CHOSEN_ON:]


def _described(task: Task, directions: Mapping[str, Floats], asked: Sequence[Question]) -> dict[str, Any]:
    """Each direction's length in every block, as a share of hidden states' own, and the cosine between the two."""
    own_L = lengths(task.base(), asked, task.training_prompter)
    found: dict[str, Any] = {
        "length": {name: (np.linalg.norm(of_LD, axis=-1) / own_L).tolist() for name, of_LD in directions.items()}
    }
    if PROMPTED in directions:
        found["alignment"] = cosines(directions[HEAD], directions[PROMPTED])
        found["chance"] = cosines(directions[HEAD], np.stack([random_like(of_D) for of_D in directions[PROMPTED]]))
    return found


def _tried(
    task: Task, directions: Mapping[str, Floats], known: Likelihoods, settings: Mapping[str, Any], note: Note
) -> dict[str, list[dict[str, Any]]]:
    """Accuracy of the positive head against the base with each direction, in some blocks and strengths, in training."""
    layers = len(directions[HEAD])
    blocks = sorted({round(place) for place in np.linspace(0, layers - 1, BLOCKS)})
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in directions}
    places = list(itertools.product(directions, blocks, STRENGTHS))
    for number, (name, block, strength) in enumerate(places):
        note(number, len(places), "(choosing blocks and strengths)")
        with steered(task.base(), block, strength * directions[name][block]):
            other = score(task.base(), None, known.questions, task.training_prompter, memory=task.memory)
        scores_QC = ratio(known.head(POSITIVE), other.head(BASE), settings["weight"])
        scores_QC = known.once(normalise(scores_QC, known, settings["normalisation"]))
        reached = float(credit(scores_QC, known.answers_Q).mean())
        found[name].append({"block": block, "strength": strength, "accuracy": reached})
    return found


def _steered(
    task: Task, directions: Mapping[str, Floats], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, Floats]:
    """[Q, C] of the test questions by the base with each direction where it was chosen to stand, and with a random
    direction of the same length in the same block."""
    found = {}
    for name, of_LD in directions.items():
        block, strength = chosen[name]["block"], chosen[name]["strength"]
        for read, direction_D in ((name, of_LD[block]), (f"{name}{RANDOM}", random_like(of_LD[block]))):
            with steered(task.base(), block, strength * direction_D):
                found[read] = _of_test(task, task.test_prompter)
    return found


def _of_test(task: Task, prompter: Prompter, stack: HeadStack | None = None, head: str = BASE) -> Floats:
    """[Q, C] log-likelihoods of the test questions' answers."""
    return score(task.base(), stack, task.test(), prompter, (head,), memory=task.memory).head(head)
