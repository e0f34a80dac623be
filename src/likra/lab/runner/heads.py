"""The work of most jobs: train adapters, and keep how likely they find the test answers at every size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.engine.loglikelihood import encode_question, score
from likra.engine.tree import Tree
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Note
from likra.lab.runner.learning import ByQuestion, head_stack, tokenized, train_to_sizes
from likra.lab.runner.snapshots import heads_path, save_heads
from likra.lab.runner.task import POSITIVE, Task, as_train_reads, config_of, seed_folder, table_path
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE, Likelihoods
from likra.training.seeds import adapter_seed


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train the adapters named in `heads`, of every seed in one stack, and keep a table per seed, size and test set.

    Test sets of other sources (`Task.elsewhere`) are scored at the largest size alone.
    """
    task, config = Task.of(settings), config_of(settings)
    sizes: list[int] = settings["sizes"]
    seeds: list[int] = settings["seeds"]
    base = task.base()
    learned, stack = stack_of(settings, folder)
    names = {seed_folder(folder, seeds, seed): stack_names(settings["heads"], seeds, seed) for seed in seeds}

    def at_size(size: int) -> None:
        for test in settings["tests"]:
            if test not in task.elsewhere:
                keep_tables(task, stack, names, test, size, sizes[0])
            elif size == sizes[-1]:
                keep_tables(task, stack, names, test, size, size)
        if settings["stacked"] and size == sizes[-1]:
            save_heads(stack, list(learned), heads_path(folder, size))

    try:
        state = folder / "state"
        train_to_sizes(stack, learned, config, sizes, at_size, state=state, memory=task.memory, progress=note)
    finally:
        stack.remove()
    for place, of_seed in names.items():
        cost_of(task, base, {head: learned[name] for head, name in of_seed.items()}).save(place)


def stack_names(heads: Sequence[str], seeds: Sequence[int], seed: int) -> dict[str, str]:
    """Adapter of one seed -> its name in a stack of these seeds.

    >>> stack_names(["positive"], [0], 0), stack_names(["positive"], [0, 1], 1)
    ({'positive': 'positive'}, {'positive': 'seed1-positive'})
    """
    return {head: head if len(seeds) == 1 else f"seed{seed}-{head}" for head in heads}


def stack_of(settings: dict[str, Any], folder: Path) -> tuple[dict[str, ByQuestion], HeadStack]:
    """The untrained stack of a job, and what each adapter learns from."""
    task, seeds = Task.of(settings), settings["seeds"]
    learned: dict[str, ByQuestion] = {}
    for seed in seeds:
        questions = task.drawn(settings["sizes"][-1], seed)
        for head, name in stack_names(settings["heads"], seeds, seed).items():
            examples = task.examples(head, questions, seed, seed_folder(folder, seeds, seed))
            if settings["stacked"]:
                examples = as_train_reads(examples, seed)
            learned[name] = tokenized(task.base(), examples)
    first = [adapter_seed(seed, head != POSITIVE) for seed in seeds for head in settings["heads"]]
    return learned, head_stack(task.base(), config_of(settings), learned, first)


def cost_of(task: Task, base: Base, learned: Mapping[str, ByQuestion]) -> Cost:
    """What methods cost with this model and these training examples."""
    model: Any = base.model
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    parameters = sum(parameter.numel() for parameter in base.model.parameters())
    if output is None or output.weight is not embedding.weight:
        parameters -= embedding.weight.numel()
    read = tokens_read(base, task.test(), task.test_prompter)
    tokens = {head: sum(len(pair.inputs) for pairs in some for pair in pairs) for head, some in learned.items()}
    wrong = next((count for head, count in tokens.items() if head != POSITIVE), 0)
    return Cost(parameters, read / len(task.test()), tokens.get(POSITIVE, 0), wrong)


def tokens_read(base: Base, questions: Sequence[Question], prompter: Prompter) -> int:
    """Distinct tokens of some questions."""
    inputs = {pair.inputs for question in questions for pair in encode_question(base, question, prompter)}
    return len(Tree.of([(ids, 0) for ids in sorted(inputs)]))


def keep_tables(
    task: Task,
    stack: HeadStack,
    names: Mapping[Path, Mapping[str, str]],
    test: str,
    size: int,
    first: int,
    unit: str = "size",
) -> None:
    """Keep each seed's table of one test set at one size, unless they are there already.

    The base's likelihoods are read with the first size's and copied to the others.

    Args:
        task: The task.
        stack: The trained adapters.
        names: Folder of a seed -> its adapters, by their names in its table -> their names in the stack.
        test: One of `TESTS`, or of `Task.elsewhere`.
        size: Training questions seen, or what else is counted.
        first: The first size.
        unit: What is counted, for the table's `meta`.
    """
    if all(table_path(folder, test, size).exists() for folder in names):
        return
    readers = [name for of_seed in names.values() for name in of_seed.values()]
    readers = readers if size != first else [BASE, *readers]
    table = score(task.base(), stack, task.test(test), task.prompter_of(test), readers, memory=task.memory)
    judged, name = task.judged(test)
    meta = {"model": task.model, "data": judged.data, "test": name, unit: size, "style": judged.source.style}
    meta |= {name: table.meta[name] for name in ("precision", "rounding")}
    for folder, of_seed in names.items():
        base = table if size == first else Likelihoods.load(table_path(folder, test, first))
        logprob_HQC = np.stack([base.head(BASE), *(table.head(name) for name in of_seed.values())])
        own = Likelihoods((BASE, *of_seed), table.questions, logprob_HQC, table.tokens_QC, table.cut_QC, meta)
        own.save(table_path(folder, test, size))


def train_pair(
    settings: dict[str, Any], learned: Mapping[str, ByQuestion], stack: HeadStack, folder: Path, note: Note
) -> None:
    """Train the pair of a job of one seed, and keep its adapters and their table of the test questions at every size.

    Args:
        settings: The job's.
        learned, stack: What `stack_of` gives for them.
        folder: The job's.
        note: Tells how far it is.
    """
    task, sizes = Task.of(settings), settings["sizes"]

    def at_size(size: int) -> None:
        keep_pair(task, stack, size, sizes[0], folder)

    how: dict[str, Any] = {"state": folder / "state", "memory": task.memory, "progress": note}
    train_to_sizes(stack, learned, config_of(settings), sizes, at_size, **how)


def keep_pair(task: Task, stack: HeadStack, size: int, first: int, folder: Path) -> None:
    """Keep a stack's adapters at one size, and their table of the test questions, unless they are there already."""
    if not table_path(folder, "own", size).exists():
        save_heads(stack, stack.names, heads_path(folder, size))
    keep_tables(task, stack, {folder: {name: name for name in stack.names}}, "own", size, first)
