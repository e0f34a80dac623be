"""The work of the rivals that need no trainer of their own: SFT, PMI, unlikelihood, merged weights, and Likra."""

import dataclasses
from pathlib import Path
from typing import Any

from likra.heads.merging import merged
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.likelihood.engine import score
from likra.likelihood.table import BASE, Floats, Likelihoods
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.study.cells import Note
from likra.study.course import Lessons, follow, head_stack, lessons
from likra.study.heads import keep_facts, table_path
from likra.study.snapshots import heads_path, keeper, load_heads
from likra.study.task import NEGATIVE, POSITIVE, Task, recipe_of

UNLIKELY = "unlikely"
PMI_TABLE = "unconditional.parquet"

#: Weights of the negative update in merged heads.
MERGED_WEIGHTS = (0.5, 1.0)


def merged_name(weight: float) -> str:
    return f"merged-{weight:g}"


def unconditional(questions: list[Question], prompter: Prompter) -> list[Question]:
    """The questions' completions with nothing before them, as lm-evaluation-harness's `acc_mutual_info` reads them."""
    return [
        dataclasses.replace(question, text="", choices=tuple(completion for _, completion in prompter.pairs(question)))
        for question in questions
    ]


def has_prompts(style: str) -> bool:
    """Whether a completion follows a prompt of its own question, which PMI could divide out."""
    return style not in ("empty", "cloze")


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train positive, negative and unlikelihood heads; keep their tables, those of merged heads, and PMI's."""
    task, recipe, seed = Task.of(settings), recipe_of(settings), int(settings["seed"])
    sizes: list[int] = settings["sizes"]
    questions = task.drawn(sizes[-1], seed)
    base = task.base()
    right = lessons(base, task.examples(POSITIVE, questions, seed, folder))
    wrong = lessons(base, task.examples(NEGATIVE, questions, seed, folder))
    both = [
        [*good, *(dataclasses.replace(pair, right=False) for pair in bad)]
        for good, bad in zip(right, wrong, strict=True)
    ]
    learned: dict[str, Lessons] = {POSITIVE: right, NEGATIVE: wrong}
    stack = head_stack(base, recipe, learned, [2 * seed, 2 * seed + 1])
    try:
        keep = keeper(task, stack, (POSITIVE, NEGATIVE), sizes, folder)
        follow(stack, learned, recipe, sizes, keep, state=folder / "state", memory=task.memory, progress=note)
        scaling, invocation = stack.scaling(POSITIVE), stack.invocation
    finally:
        stack.remove()
    # It learns from two answers of each question, and so takes twice the steps: a stack of its own.
    stack = head_stack(base, recipe, {UNLIKELY: both}, [2 * seed])

    def visit(size: int) -> None:
        path = table_path(folder, UNLIKELY, size)
        if not path.exists():
            score(base, stack, task.test(), task.test_prompter, (UNLIKELY,), memory=task.memory).save(path)

    try:
        state = folder / "state" / UNLIKELY
        follow(stack, {UNLIKELY: both}, recipe, sizes, visit, state=state, memory=task.memory, progress=note)
    finally:
        stack.remove()
    _merge(task, sizes, recipe, scaling, invocation, folder)
    if has_prompts(task.source.style) and not (folder / PMI_TABLE).exists():
        bare = unconditional(task.test(), task.test_prompter)
        score(base, None, bare, Prompter("verbatim"), memory=task.memory).save(folder / PMI_TABLE)
    keep_facts(task, learned, folder)


def _merge(
    task: Task, sizes: list[int], recipe: Recipe, scaling: float, invocation: tuple[int, ...], folder: Path
) -> None:
    """Keep the tables of the merged heads."""
    names = [merged_name(weight) for weight in MERGED_WEIGHTS]
    base, rank = task.base(), 2 * recipe.rank
    stack = HeadStack(
        base, names, rank=rank, targets=recipe.target_names, activation=recipe.activation, invocation=invocation
    )
    try:
        for size in sizes:
            path = table_path(folder, "merged", size)
            if path.exists():
                continue
            heads = load_heads(heads_path(folder, size))
            for name, weight in zip(names, MERGED_WEIGHTS, strict=True):
                weights = merged([(1.0, heads[POSITIVE]), (-weight, heads[NEGATIVE])])
                stack.set_weights(name, weights, rank=rank, scaling=scaling)
            table = score(base, stack, task.test(), task.test_prompter, names, memory=task.memory)
            table.save(path)
    finally:
        stack.remove()


def scores(folder: Path, size: int) -> dict[str, Floats]:
    """Scores [Q, C] of every method of this cell at one size, besides those of the ratio itself."""
    own, unlikely, of_merged = (
        Likelihoods.load(table_path(folder, kind, size)) for kind in ("own", UNLIKELY, "merged")
    )
    found = {"unlikelihood": unlikely.head(UNLIKELY)} | {name: of_merged.head(name) for name in of_merged.heads}
    if (folder / PMI_TABLE).exists():
        found["pmi"] = own.head(BASE) - Likelihoods.load(folder / PMI_TABLE).head(BASE)
    return found
