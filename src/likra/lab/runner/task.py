"""What a job's settings mean: the model, the questions it trains on and is judged on, and their wording."""

import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.data.controls import BLIND, CONTROLS, SHUFFLED, ask_the_same, control, has_controls
from likra.data.negatives import NEGATIVE_KINDS, negatives, positives, with_random_distractors
from likra.data.question import Example, Question
from likra.data.sources import Source, answers, load, right_answers
from likra.data.templates import Prompter
from likra.errors import InputError
from likra.utils.embedded import embedded_models
from likra.utils.files import sha256, write_json

if TYPE_CHECKING:
    from likra.models.base import Base
    from likra.training.config import TrainingConfig

#: The heads of a pair; a negative head is called by its kind of negatives, and this is the kind of the paper.
POSITIVE, NEGATIVE = "positive", "incorrect"

#: Test set -> what its wrong choices are.
TESTS = {
    "own": "the questions as they are",
    "random": "wrong choices replaced by right answers of other questions",
    "reworded": "every choice in other words",
    **{name: f"the questions as they are, {how}" for name, how in CONTROLS.items()},
}

# One wrong answer per question is learned from, so no more are looked for.
MINED, MINING_TRIES = 1, 4

_TEST_SEED = 0  # the same test questions for every seed of the heads


@dataclass(frozen=True)
class Task:
    """A model, and the data that heads on it learn from and are judged on.

    Attributes:
        model: A hub id, a folder, a GGUF file, or an embedded model.
        loading: Further arguments of `load_base`.
        data: A source's name.
        limit: Judge on so many test questions, drawn once for all seeds; None: on all.
        shots: Solved training questions before each test question, the same for all.
        unrelated: Source of `unrelated` negatives.
        reworded: Source that has the test questions, by id, with every choice reworded; None where there is none.
        style: Prompt template, in place of that of the data's form.
        columns: The fields of the text and the label, where the data is a table of texts and labels.
        memory: Bytes that training and reading may take beside the model; None: a share of what is free.
        to: Other sources whose test questions the heads are judged on too (`elsewhere`).
        blind: Whether heads learn the answers with the question removed from their prompts.
        fold: (seed, count, half): learn from one half of that seed's first training questions, and be judged on the
            other, `half` (0 or 1), in place of the test questions. None: learn from all of them.
    """

    model: str
    data: str
    loading: dict[str, Any] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    shots: int = 0
    unrelated: str = "world"
    reworded: str | None = None
    style: str | None = None
    columns: tuple[str, str] | None = None
    memory: int | None = None
    to: tuple[str, ...] = ()
    blind: bool = False
    fold: tuple[int, int, int] | None = None

    def settings(self, uses: Sequence[str] = (), *, dry: bool = False) -> dict[str, Any]:
        """As JSON-able settings of a job, with a digest of the data and the model that the names stand for now.

        Args:
            uses: Which of `unrelated`, `reworded` and `to` the job reads. The others are left out, so that jobs do not
                differ by them.
            dry: Whether the job is only counted: no digest is taken, and nothing need be at hand.
        """
        named = dataclasses.asdict(self)
        memory, device = named.pop("memory"), named["loading"].pop("device", None)
        for name in ("unrelated", "reworded", "to"):
            if name not in uses:
                del named[name]
        if not self.blind:
            del named["blind"]
        for name in ("style", "fold", "columns"):
            if named[name] is None:
                del named[name]
        return {
            "task": named,
            "model": self.model,
            "content": "" if dry else self._content(uses),
            "uses": list(uses),
            "how": {"memory": memory, "device": device},
        }

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "Task":
        """The task of a job; its names must still stand for what they did when the job was planned.

        Raises:
            InputError: The data or the model have changed since.
        """
        named, how = dict(settings["task"]), settings["how"]
        if how["device"]:
            named["loading"] = {**named["loading"], "device": how["device"]}
        named["to"] = tuple(named.get("to", ()))
        for name in {"fold", "columns"} & set(named):
            named[name] = tuple(named[name])
        task = cls(**named, memory=how["memory"])
        if settings["content"] != task._content(settings["uses"]):
            raise InputError(f"{task.data} or {task.model}: is not what it was when this job was planned.")
        return task

    def _content(self, uses: Sequence[str]) -> str:
        digest = hashlib.sha256(_model_content(self.model).encode())
        read = [getattr(self, use) for use in uses if use != "to"]
        for name in (self.data, *read, *(self.to if "to" in uses else ())):
            if name:
                found = _source(name, None, self.columns if name in (self.data, *self.to) else None)
                digest.update(repr(sorted(found.questions.items())).encode())
                turns = [one.before for some in found.questions.values() for one in some if one.before]
                digest.update(repr(turns).encode() if turns else b"")
        return digest.hexdigest()[:16]

    @property
    def source(self) -> Source:
        return _source(self.data, self.style, self.columns)

    def base(self) -> "Base":
        """The model; kept in memory for the next job."""
        return _base(self.model, tuple(sorted(self.loading.items())))

    def drawn(self, size: int, seed: int) -> list[Question]:
        """The first training questions of one seed, in the order in which its heads learn from them.

        How many are asked for does not change which come first.

        Raises:
            InputError: There are fewer.
        """
        questions = self.source.questions.get("train", [])
        if self.source.unpaired or not questions:
            raise InputError(f"{self.data}: has no training questions; a study needs questions with choices.")
        if size > len(questions):
            raise InputError(f"--sizes {size}: {self.data} has only {len(questions)} training questions.")
        drawn = random.Random(seed).sample(questions, len(questions))
        if self.fold is not None:
            _, count, half = self.fold
            drawn = [question for place, question in enumerate(drawn[:count]) if place % 2 != half]
        return drawn[:size]

    @property
    def elsewhere(self) -> "dict[str, tuple[Task, str]]":
        """The test sets of the sources in `to`: name -> the task of that source, and the name that it has there."""
        others = [dataclasses.replace(self, data=source, to=(), blind=False) for source in self.to]
        return {f"to{place}-{test}": (other, test) for place, other in enumerate(others) for test in ("own", BLIND)}

    def judged(self, test: str) -> "tuple[Task, str]":
        """The task whose questions a test set has, and the test set's name there."""
        return self.elsewhere.get(test, (self, test))

    def test(self, name: str = "own") -> list[Question]:
        """The questions of one of `TESTS`, or of `elsewhere`."""
        if name in self.elsewhere:
            other, test = self.judged(name)
            return other.test(test)
        if not self.source.unpaired and not self.source.questions.get(self.source.default_split):
            raise InputError(f"{self.data}: has no test questions; a study needs a test (or validation) split too.")
        if self.fold is not None:
            seed, count, half = self.fold
            return dataclasses.replace(self, fold=None).drawn(count, seed)[half::2]
        questions = self.source.split(None)
        if self.limit is not None and self.limit < len(questions):
            places = sorted(random.Random(_TEST_SEED).sample(range(len(questions)), self.limit))
            questions = [questions[place] for place in places]
        if name == "random":
            return with_random_distractors(questions, right_answers(self.source.split(None)), seed=_TEST_SEED)
        if name == "reworded":
            return self._reworded(questions)
        return questions

    def _reworded(self, questions: Sequence[Question]) -> list[Question]:
        if self.reworded is None:
            raise InputError(f"{self.data}: name a source of its test questions in other words with --reworded.")
        found = {q.id: q for split in _source(self.reworded).questions.values() for q in split}
        for question in questions:
            other = found.get(question.id)
            if other is None or (len(other.choices), other.answer) != (len(question.choices), question.answer):
                raise InputError(
                    f"{self.reworded}: question {question.id!r} of {self.data} is missing there, or its choices are "
                    "not as many in the same order; give every test question, reworded choice by choice."
                )
        return [found[question.id] for question in questions]

    @property
    def training_prompter(self) -> Prompter:
        return Prompter(self.source.style)

    @property
    def test_prompter(self) -> Prompter:
        return Prompter(self.source.style, self.shots, self.source.questions.get("train", []))

    def prompter_of(self, test: str) -> Prompter:
        """What words the questions of one of `TESTS`, or of `elsewhere`."""
        if test in self.elsewhere:
            other, name = self.judged(test)
            return other.prompter_of(name)
        return control(test, self.test(), self.test_prompter) if test in CONTROLS else self.test_prompter

    def has(self, test: str) -> bool:
        """Whether there can be such a test set; controls need questions apart from what is scored, that differ."""
        task, name = self.judged(test)
        if name not in CONTROLS:
            return True
        return has_controls(task.source.style) and not (name == SHUFFLED and ask_the_same(task.test()))

    def examples(
        self, head: str, questions: Sequence[Question], seed: int, folder: Path = Path()
    ) -> list[list[Example]]:
        """What a head learns from each question: `positive`, or a kind of negatives, or `mined`.

        Args:
            head: Which head.
            questions: The training questions.
            seed: Seed of the draw.
            folder: Where mined answers are kept; only `mined` needs it.
        """
        prompter = self.training_prompter
        if self.blind:
            prompter = control(BLIND, questions, prompter)
        if head == POSITIVE:
            return [[example] for example in positives(questions, prompter)]
        if head == "mined":
            return self._mined(questions, seed, folder, prompter)
        if head == "all":
            return [negatives([question], prompter, head, seed=seed) for question in questions]
        pool = (
            answers(_source(self.unrelated)) if head == "unrelated" else right_answers(self.source.questions["train"])
        )
        return [[example] for example in negatives(questions, prompter, head, seed=seed, pool=pool)]

    def answers(self, head: str, sizes: Sequence[int], size: int, seed: int, *, stacked: bool) -> list[str]:
        """The answers, as texts, from which a head of one seed has learned at one of some sizes.

        Args:
            head: As in `examples`.
            sizes: All sizes of its job.
            size: One of them.
            seed: The seed.
            stacked: Whether the job trains all seeds in one stack (`Plan.stacked`).
        """
        # As texts, however heads are asked: a template may score letters, or the rest of a sentence.
        task = self if self.source.style == "chat" else dataclasses.replace(self, style="verbatim")
        examples = task.examples(head, task.drawn(sizes[-1], seed), seed)
        if stacked:
            examples = as_train_reads(examples, seed)
        return [example.completion for some in examples[:size] for example in some]

    def check_kind(self, kind: str) -> None:
        """Raise InputError unless there are such negatives for this task's training questions."""
        if kind == "mined":
            from likra.mining import check_style

            check_style(self.source.style)
        elif kind not in NEGATIVE_KINDS:
            raise InputError(f"--kinds {kind}: must be one of {', '.join((*NEGATIVE_KINDS, 'mined'))}.")
        else:
            self.examples(kind, self.source.questions["train"][:1], 0)

    def _mined(self, questions: Sequence[Question], seed: int, folder: Path, prompter: Prompter) -> list[list[Example]]:
        """Answers that the base gives by itself, from right answers alone; kept, for a job that is continued."""
        path = folder / "mined.json"
        if not path.exists():
            from likra.mining import MiningConfig, mine

            config = MiningConfig(per_question=MINED, tries=MINING_TRIES, seed=seed)
            known = right_answers(self.source.questions["train"])
            mined = mine(self.base(), questions, self.training_prompter, config, answers=known, memory=self.memory)
            write_json(path, [dataclasses.asdict(question) for question in mined.questions])
        kept = [
            Question(**q | {"choices": tuple(q["choices"]), "before": tuple(map(tuple, q.get("before", ())))})
            for q in json.loads(path.read_text(encoding="utf-8"))
        ]
        found = {question.id: question for question in kept}
        return [
            negatives([found[question.id]], prompter, "incorrect", seed=seed) if question.id in found else []
            for question in questions
        ]


def as_train_reads(examples: Sequence[list[Example]], seed: int) -> list[list[Example]]:
    """Examples by question, in the order in which the trainer of `likra train` reads them in its first epoch."""
    read = [*examples]
    random.Random(f"{seed} 0").shuffle(read)
    return read


@lru_cache(maxsize=16)
def _source(name: str, style: str | None = None, columns: tuple[str, str] | None = None) -> Source:
    text, label = columns or (None, None)
    return load(name, style, text=text, label=label)


@lru_cache(maxsize=1)
def _base(name: str, loading: tuple[tuple[str, Any], ...]) -> "Base":
    from likra.models.base import load_base

    # A study subtracts likelihoods of one job from those of another, where rounding would not cancel.
    own = {"precision": "faithful", **dict(loading)}
    if own["precision"] in ("auto", "fast"):
        raise InputError(
            f"precision {own['precision']}: a study compares likelihoods that are read apart; use faithful or float32."
        )
    return load_base(name, **own)


@lru_cache(maxsize=16)
def _model_content(name: str) -> str:
    """Digest of a local model's files; of a model on the hub, its name."""
    folder = embedded_models().get(name, Path(name))
    if folder.is_file():
        return sha256(folder)
    if not folder.is_dir():
        return name
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".md"]
    return " ".join(f"{path.name} {sha256(path)}" for path in files)


def config_of(settings: dict[str, Any]) -> "TrainingConfig":
    """The training configuration of a job."""
    from likra.training.config import TrainingConfig

    return TrainingConfig.from_dict(settings["config"])


def table_path(folder: Path, test: str, size: int) -> Path:
    """Where a job keeps the likelihoods of one test set at one size."""
    return folder / f"{test}-{size}.parquet"


def seed_folder(folder: Path, seeds: Sequence[int], seed: int) -> Path:
    """Where a job keeps what is one seed's alone: its own folder, or one in it if it has several seeds."""
    return folder if len(seeds) <= 1 else folder / f"seed{seed}"
