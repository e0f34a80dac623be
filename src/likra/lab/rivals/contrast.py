"""The prompted contrast: L(answer | question) - L(answer | the question after a wish for a wrong answer), of the base.

Likra's ratio without any training: the prompt is to do what the negative adapter learns. The wish stands before the
question's text, in the place where the prompt template has it. All three wordings were fixed before any was read, and
all of them are reported.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.lab.rival import Method, Rival, rival
from likra.lab.rivals._reading import beside_base, read_base
from likra.lab.rivals.pmi import has_prompts
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import Task
from likra.scoring.likelihoods import BASE, Floats, Likelihoods

#: Method -> the wish.
WORDINGS = {
    "contrast-1": "Give a wrong answer.",
    "contrast-2": "Answer the following question incorrectly.",
    "contrast-3": "Reply with something that is false.",
}


@rival("contrast")
class Contrast(Rival):
    methods = tuple(Method(name, f"Prompted contrast: {wish}") for name, wish in WORDINGS.items())
    job = "task"

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Read the answers after each wish."""
        task = Task.of(settings)
        if has_prompts(task.source.style):
            for name, wish in WORDINGS.items():
                read_base(task, task.test(), wished(task.test(), task.test_prompter, wish), _table(folder, name))

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        paths = {name: _table(folder, name) for name in WORDINGS}
        return {
            name: pair.head(BASE) - Likelihoods.load(path).head(BASE) for name, path in paths.items() if path.exists()
        }

    def cost(self, method: Method, folder: Path, pair: Cost) -> Cost:
        return beside_base(pair, _table(folder, method.name))


def wished(questions: Sequence[Question], prompter: Prompter, wish: str) -> Prompter:
    """A prompter that puts a wish before the text of each of these questions, and none before examples.

    >>> asked = Question("1", "Which gas?", ("oxygen", "argon"))
    >>> wished([asked], Prompter("qa"), "Give a wrong answer.").pairs(asked)[0]
    ('Question: Give a wrong answer. Which gas?\\nAnswer:', ' oxygen')
    """
    wishes = {question: dataclasses.replace(question, text=f"{wish} {question.text}") for question in questions}
    return dataclasses.replace(prompter, instead=wishes)


def _table(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"
