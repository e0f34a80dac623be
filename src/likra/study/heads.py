"""The work of most cells: train heads of one seed, and keep how likely they find the test answers at every size."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likra.files import write_json
from likra.heads.stack import HeadStack
from likra.likelihood.engine import encode_question, score
from likra.likelihood.table import BASE, Likelihoods
from likra.reading import Tree
from likra.study.cells import Note
from likra.study.course import Lessons, follow, head_stack, lessons
from likra.study.task import POSITIVE, Task, recipe_of


def table_path(folder: Path, test: str, size: int) -> Path:
    """Where a cell keeps the likelihoods of one test set at one size."""
    return folder / f"{test}-{size}.parquet"


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train the heads named in `heads` and keep a table per size and test set."""
    task, recipe, seed = Task.of(settings), recipe_of(settings), int(settings["seed"])
    sizes: list[int] = settings["sizes"]
    questions = task.drawn(sizes[-1], seed)
    base = task.base()
    learned = {head: lessons(base, task.examples(head, questions, seed, folder)) for head in settings["heads"]}
    stack = head_stack(base, recipe, learned, [2 * seed + (head != POSITIVE) for head in learned])

    def visit(size: int) -> None:
        for test in settings["tests"]:
            judge(task, stack, list(learned), test, size, sizes[0], folder)

    try:
        follow(stack, learned, recipe, sizes, visit, state=folder / "state", memory=task.memory, progress=note)
    finally:
        stack.remove()
    keep_facts(task, learned, folder)


@dataclass(frozen=True)
class Facts:
    """What the cost of a method is reckoned from.

    Attributes:
        parameters: Parameters of the base that a token is multiplied with: all but an input embedding of its own.
        question: Tokens read per test question, each distinct one once: the prompt, each candidate, and its share of
            the examples in the prompt.
        right, wrong: Tokens of the right and of the wrong answers trained on, prompts included; 0 where there are none.
    """

    parameters: int
    question: float
    right: int
    wrong: int

    @property
    def flops(self) -> float:
        """Floating-point operations of reading one test question once: 2 per parameter and token."""
        return 2 * self.parameters * self.question


def keep_facts(task: Task, learned: Mapping[str, Lessons], folder: Path) -> None:
    """Keep what the cost of a method is reckoned from."""
    base = task.base()
    model: Any = base.model
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    parameters = sum(parameter.numel() for parameter in base.model.parameters())
    if output is None or output.weight is not embedding.weight:
        parameters -= embedding.weight.numel()
    pairs = {pair.inputs for q in task.test() for pair in encode_question(base, q, task.test_prompter)}
    read = len(Tree.of([(inputs, 0) for inputs in sorted(pairs)]))
    tokens = {head: sum(len(pair.inputs) for pairs in some for pair in pairs) for head, some in learned.items()}
    wrong = next((count for head, count in tokens.items() if head not in (POSITIVE, "unlikely")), 0)
    facts = Facts(parameters, read / len(task.test()), tokens.get(POSITIVE, 0), wrong)
    write_json(folder / "facts.json", vars(facts))


def facts_of(folder: Path) -> Facts:
    """What `keep_facts` kept."""
    return Facts(**json.loads((folder / "facts.json").read_text(encoding="utf-8")))


def judge(task: Task, stack: HeadStack, heads: Sequence[str], test: str, size: int, first: int, folder: Path) -> None:
    """Keep the table of one test set at one size, unless it is there already.

    The base's likelihoods are read with the first size's and copied to the others.
    """
    path = table_path(folder, test, size)
    if path.exists():
        return
    kept = Likelihoods.load(table_path(folder, test, first)) if size != first else None
    names = (*([] if kept else [BASE]), *heads)
    table = score(task.base(), stack, task.test(test), task.test_prompter, names, memory=task.memory)
    if kept:
        table.heads = (BASE, *heads)
        table.logprob_HQC = np.concatenate([kept.head(BASE)[None], table.logprob_HQC])
    table.meta = {"model": task.model, "data": task.data, "test": test, "size": size, "style": task.source.style}
    table.save(path)
