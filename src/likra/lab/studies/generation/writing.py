"""The jobs of the study: answers that heads of one seed write, alone, together, merged and distilled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likra.data.canonical import canonical
from likra.data.question import Question
from likra.data.sources import right_answers
from likra.data.templates import template
from likra.engine.loglikelihood import score
from likra.generation import Contrast, Decoding, distill, generate
from likra.generation.decoding import as_text
from likra.generation.text import prompt_ids
from likra.lab.runner.heads import stack_of
from likra.lab.runner.jobs import Note
from likra.lab.runner.learning import train_to_sizes
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of
from likra.lab.studies.generation import AMOUNTS, ANSWERS, DISTILLED, MERGED
from likra.mining.equivalence import Equivalence
from likra.models.merging import contrasted
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.scoring.scores import ratio
from likra.training.config import TrainingConfig
from likra.utils.files import write_json

_MAIN = Contrast()  # of the merged and the distilled adapter
_TOKENS, _DRAWS, _PICKED = 16, 4, 16


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train a positive and a negative head, merge and distill them, and keep what each way of writing says."""
    task, [seed], [size] = Task.of(settings), settings["seeds"], settings["sizes"]
    learned, stack = stack_of(settings, folder)
    try:
        train_to_sizes(
            stack,
            learned,
            config_of(settings),
            [size],
            lambda size: None,
            state=folder / "state",
            memory=task.memory,
            progress=lambda done, total, label: note(done, total, "training"),
        )
        weights, rank = contrasted(stack, (POSITIVE, NEGATIVE), _MAIN.amount)
        stack = stack.rebuilt([POSITIVE, NEGATIVE, MERGED, DISTILLED], rank)
        for name in (MERGED, DISTILLED):
            stack.set_weights(name, weights, rank=rank, scaling=1.0)
        distill(
            stack,
            (POSITIVE, NEGATIVE),
            DISTILLED,
            _prompts(task, task.drawn(size, seed), training=True),
            _MAIN,
            TrainingConfig(learning_rate=3e-4, seed=seed),
            Decoding(_TOKENS, 2, 1.0, seed=seed),
            one_line=template(task.source.style).one_line,
            memory=task.memory,
            progress=note,
        )
        write_json(folder / ANSWERS, _answers(task, stack, seed, note))
    finally:
        stack.remove()


def _prompts(task: Task, questions: Sequence[Question], *, training: bool = False) -> list[list[int]]:
    prompter = task.training_prompter if training else task.test_prompter
    return [prompt_ids(task.base(), prompter.pairs(question)[0][0]) for question in questions]


def _ways() -> dict[str, tuple[tuple[str, ...], Contrast]]:
    """Who writes, and how they are combined."""
    ways: dict[str, tuple[tuple[str, ...], Contrast]] = {
        "base": ((BASE,), Contrast(0)),
        "base_cut": ((BASE, NEGATIVE), Contrast(0)),
        "sft": ((POSITIVE,), Contrast(0)),
        "base_likra": ((BASE, NEGATIVE), _MAIN),
        MERGED: ((MERGED,), Contrast(0)),
        DISTILLED: ((DISTILLED,), Contrast(0)),
    }
    return ways | {f"likra-{amount:g}": ((POSITIVE, NEGATIVE), Contrast(amount)) for amount in AMOUNTS}


def _answers(task: Task, stack: HeadStack, seed: int, note: Note) -> dict[str, Any]:
    """Way -> decoding -> what share of each test question's answers is true, and false."""
    questions, base, one_line = task.test(), task.base(), template(task.source.style).one_line
    prompts = _prompts(task, questions)
    truth = Truth(right_answers(task.source.questions["train"]))
    decodings = {
        "greedy": Decoding(_TOKENS),
        "drawn": Decoding(_TOKENS, _DRAWS, 1.0, seed=seed),
    }
    found: dict[str, Any] = {}

    def written(readers: tuple[str, ...], decoding: Decoding, contrast: Contrast) -> list[list[str]]:
        new = generate(base, stack, readers, prompts, decoding, contrast, one_line=one_line, memory=task.memory)
        return [
            [as_text(base, prompt, one, one_line=one_line).strip() for one in of_prompt]
            for prompt, of_prompt in zip(prompts, new, strict=True)
        ]

    ways = _ways()
    for place, (way, (readers, contrast)) in enumerate(ways.items()):
        note(place, len(ways) + 1, f"writing: {way}")
        found[way] = {
            name: truth.shares(questions, written(readers, decoding, contrast)) for name, decoding in decodings.items()
        }
    note(len(ways), len(ways) + 1, "writing: best of n")
    many = written((BASE,), Decoding(_TOKENS, _PICKED, 1.0, seed=seed), Contrast(0))
    found["pick"] = {"drawn": truth.shares(questions, _picked(task, stack, many))}
    return found


def _picked(task: Task, stack: HeadStack, texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each question's texts the one with the highest ratio."""
    asked = [
        Question(question.id, question.text, tuple(dict.fromkeys(text for text in some if text)) or ("?",))
        for question, some in zip(task.test(), texts, strict=True)
    ]
    table = score(task.base(), stack, asked, task.test_prompter, (POSITIVE, NEGATIVE), memory=task.memory)
    best_Q = np.nanargmax(ratio(table.head(POSITIVE), table.head(NEGATIVE)), axis=1)
    return [[question.choices[place]] for question, place in zip(asked, best_Q.tolist(), strict=True)]


class Truth:
    """Tells whether a written answer is true, by the right and wrong choices of its question.

    True: it says the same as the right choice and as no wrong one, as `likra.mining` tells it (whose errors are one or
    two in a hundred in the world). False: the other way round. Else it is neither.

    Args:
        answers: The right answers of the source.
    """

    def __init__(self, answers: Sequence[str]) -> None:
        self._same = Equivalence(answers)

    def shares(self, questions: Sequence[Question], texts: Sequence[Sequence[str]]) -> dict[str, list[float]]:
        """Of each question's answers the share that is true, and the share that is false."""
        verdicts = [[self.verdict(q, text) for text in some] for q, some in zip(questions, texts, strict=True)]
        return {name: [some.count(name) / len(some) for some in verdicts] for name in ("true", "false")}

    def verdict(self, question: Question, text: str) -> str:
        """`true`, `false`, or nothing."""
        said = [self._same.equivalent(text, choice, question.text) for choice in question.choices] if text else []
        texts = [canonical(choice) for choice in question.choices]
        known = None if question.answer is None else texts[question.answer]
        right = any(one for one, choice in zip(said, texts, strict=False) if choice == known)
        wrong = any(one for one, choice in zip(said, texts, strict=False) if choice != known)
        return "" if right == wrong else "true" if right else "false"
