"""PMI: how much likelier the question makes an answer (lm-evaluation-harness's `acc_mutual_info`)."""

import dataclasses
from pathlib import Path
from typing import Any

from likra.data.question import Question
from likra.data.templates import Prompter, template
from likra.lab.rival import Method, Rival, rival
from likra.lab.rivals._reading import AS_IT_IS, beside_base, read_base
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import Task
from likra.scoring.likelihoods import BASE, Floats, Likelihoods

_TABLE = "unconditional.parquet"


@rival("pmi")
class PMI(Rival):
    methods = (Method("pmi", "PMI"),)
    job = "task"

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Read the answers without their questions."""
        task = Task.of(settings)
        if has_prompts(task.source.style):
            read_base(task, unconditional(task.test(), task.test_prompter), AS_IT_IS, folder / _TABLE)

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        if not (folder / _TABLE).exists():
            return {}
        return {"pmi": pair.head(BASE) - Likelihoods.load(folder / _TABLE).head(BASE)}

    def cost(self, method: Method, folder: Path, pair: Cost) -> Cost:
        return beside_base(pair, folder / _TABLE)


def unconditional(questions: list[Question], prompter: Prompter) -> list[Question]:
    """The questions' completions with nothing before them, as lm-evaluation-harness's `acc_mutual_info` reads them."""
    return [
        dataclasses.replace(question, text="", choices=tuple(completion for _, completion in prompter.pairs(question)))
        for question in questions
    ]


def has_prompts(style: str) -> bool:
    """Whether a completion follows a prompt of its own question, which PMI could divide out.

    >>> has_prompts("qa"), has_prompts("cloze")
    (True, False)
    """
    return template(style).continues
