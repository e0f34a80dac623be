"""`Likra`: a base model with an adapter that learned right answers and an adapter that learned wrong ones.

Example:
    >>> likra = Likra.from_base("world-tiny").fit("world", limit=8, runtime=QUIET)
    >>> len(likra.score("Which instrument does Mira Voss play?", ["surely cello", "probably harp"]))
    2
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

from transformers import PreTrainedModel

from likra.data import few_shot
from likra.data.few_shot import Data, Selection, loaded
from likra.data.question import Question
from likra.data.records import Records
from likra.data.sources import Source
from likra.data.sources.loading import learned_labels
from likra.data.templates import Prompter
from likra.data.unpaired import LoneCandidates, is_unpaired
from likra.engine import loglikelihood
from likra.errors import InputError, StateError
from likra.generation import writing
from likra.generation.best_of_n import choices_of, once
from likra.generation.contrast import Contrast
from likra.generation.decoding import Decoding
from likra.hub.folder import write_heads
from likra.hub.model_card import push, write_card
from likra.hub.saved import read_saved, write_beside
from likra.models.adapters import warn_of_another_base, warn_where_peft_differs
from likra.models.base import Base, Loading, LoadingFrom, base_of
from likra.models.read_stack import read_stack
from likra.models.stack import HeadStack
from likra.models.thread_lock import alone_with_base
from likra.scoring.budget import check_error_budget
from likra.scoring.calibration import Calibration, check_calibration
from likra.scoring.calibration_error import CalibrationRecord, calibrate_on
from likra.scoring.candidates import Candidate
from likra.scoring.config import Scoring
from likra.scoring.cross_validation import CrossValidation
from likra.scoring.cross_verification import CrossVerification
from likra.scoring.evaluation import Evaluation
from likra.scoring.judge import Judge
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE, Likelihoods
from likra.scoring.lone_calibration import calibrate_lone_on
from likra.scoring.scores import READERS, check_weight, method_of
from likra.scoring.verification import Verification
from likra.training import provenance
from likra.training.config import TrainingConfig
from likra.training.cross_validation import Folding, cross_validate
from likra.training.dataset import Examples, TrainingSet
from likra.training.fit import Run, fit
from likra.training.recipe import by_recipe, check_recipe
from likra.training.step import Step
from likra.training.trainer import CHECKPOINT_EVERY
from likra.utils.files import new_folder
from likra.utils.locations import find_heads
from likra.utils.runtime import QUIET, Runtime

#: role -> the adapters it trains.
ROLES: dict[str, tuple[str, ...]] = {
    "sft-likra": (POSITIVE, NEGATIVE),
    "base-likra": (NEGATIVE,),
    "sft": (POSITIVE,),
}
RUNTIME = Runtime()


class Likra:
    """A scorer of answers that learns from right and from wrong ones (arXiv 2503.14391).

    Make one with `from_base` and `fit` it, or load one with `from_pretrained`.

    Attributes:
        base: The frozen base model.
        stack: The trained adapters; None before `fit`.
        heads: Their names: `positive`, `negative`, or both.
        weight: w in L+ - w * L-.
        style: Prompt template, one of `likra.data.TEMPLATES`.
        training_config: How they are trained; where `recipe` is not None, `fit` puts another learning rate and other
            epochs in place of its own. Who assigns one trains by it as it is.
        recipe: One of `likra.training.recipe.RECIPES`, or None: learning rate and epochs as `training_config` has them.
        training, losses: What they were trained on (`TrainingSet.facts`), and the steps of the last `fit`.
        calibration, lone_calibration: What turns scores into probabilities, of the choices of a question and of a
            candidate by itself; None before `calibrate`.
        evaluations: What `likra eval --record` found.
        records: What they learned, where `fit(keep_data=True)` kept it; `save_pretrained` writes it with them.
        revision: Their commit, where they were loaded from the hub.
    """

    recipe: str | None

    def __init__(
        self, base: Base, heads: Sequence[str], training_config: TrainingConfig, *, weight: float, style: str
    ) -> None:
        check_weight(weight)
        self.base, self.heads = base, tuple(heads)
        self.training_config = dataclasses.replace(training_config)
        self.weight, self.style, self.stack = weight, style, cast(HeadStack | None, None)
        self.training: dict[str, Any] = {}
        self.losses: list[Step] = []
        self.calibration: CalibrationRecord | None = None
        self.lone_calibration: CalibrationRecord | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.records: Records | None = None
        self.revision: str | None = None

    @classmethod
    def from_base(
        cls,
        model: str | Base | PreTrainedModel,
        tokenizer: Any = None,
        *,
        role: str = "sft-likra",
        training_config: TrainingConfig | None = None,
        recipe: str | None = None,
        weight: float = 1.0,
        style: str = "qa",
        **loading: Unpack[LoadingFrom],
    ) -> "Likra":
        """An untrained Likra. Raises InputError where the model cannot be loaded, or the role is unknown.

        Args:
            model: A hub id, a folder, a GGUF file, an embedded model, or a causal language model in memory, which is
                frozen in place.
            tokenizer: Needed with a model in memory, and only then.
            role: `sft-likra` (both adapters), `base-likra` (no positive one: the base takes its place), or `sft`.
            training_config: How to train; default: as the paper did, but at the learning rate and for the epochs that
                suit the data.
            recipe: What takes the place of learning rate and epochs: `auto`, those that suit the data
                (`likra.training.recipe.suited`), or `paper`. Default: `auto` where no configuration is given.
            weight, style: w in L+ - w * L-, and the prompt template of `score`; `fit` takes over that of its data.
            **loading: As `load_base` takes it (revision, dtype, precision, device, quantize, trust_remote_code).
        """
        if role not in ROLES:
            raise InputError(f"role must be one of {', '.join(ROLES)}, got {role!r}.")
        check_recipe(recipe)
        base = base_of(model, tokenizer, **loading)
        likra = cls(base, ROLES[role], training_config or TrainingConfig(), weight=weight, style=style)
        likra.recipe = recipe or ("auto" if training_config is None else None)
        return likra

    @classmethod
    def from_adapters(
        cls,
        model: str | Base | PreTrainedModel,
        tokenizer: Any = None,
        *,
        positive: str | Path | None = None,
        negative: str | Path | None = None,
        **how: Any,
    ) -> "Likra":
        """A Likra from the folders of PEFT LoRA adapters that were trained elsewhere; the rest is as in `from_base`."""
        folders = {name: Path(where) for name, where in ((POSITIVE, positive), (NEGATIVE, negative)) if where}
        if not folders:
            raise InputError("from_adapters needs a positive or a negative adapter, or both.")
        likra = cls.from_base(model, tokenizer, **how)
        for folder in folders.values():
            warn_of_another_base(folder, likra.base)
        likra.heads, likra.stack = tuple(folders), read_stack(likra.base, folders)
        likra.training = {"trained_elsewhere": {name: str(folder) for name, folder in folders.items()}}
        return likra

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        revision: str | None = None,
        model: str | Base | None = None,
        base_revision: str | None = None,
        token: str | None = None,
        **loading: Unpack[Loading],
    ) -> "Likra":
        """Load what `save_pretrained` or `push_to_hub` wrote, and its base; raises InputError where they do not fit.

        Args:
            folder: A folder, or `owner/name` on the Hugging Face hub; a folder wins.
            revision: Branch, tag or commit on the hub; default: main. `Likra.revision` is the commit it stands for.
            model: The base, where it is not to be found under the name that it was trained with.
            base_revision: Branch, tag or commit of the base; default: that of the training.
            token, **loading: Access token for the hub, and the rest as `load_base` takes it.
        """
        folder, commit = find_heads(folder, revision, token)
        saved = read_saved(folder)
        base = saved.load_base(model, base_revision, token=token, **loading)
        likra = cls(base, tuple(saved.folders), saved.training_config, weight=saved.weight, style=saved.style)
        likra.stack = read_stack(base, saved.folders, saved.adapt, saved.invocation_tokens)
        likra.training, likra.losses, likra.revision = saved.training, saved.losses, commit
        likra.recipe = saved.training.get("recipe")
        likra.calibration, likra.lone_calibration = saved.calibration, saved.lone_calibration
        likra.evaluations, likra.records = saved.evaluations, saved.records
        return likra

    @alone_with_base
    def fit(
        self,
        data: Data,
        *,
        state: Path | None = None,
        checkpoint_every: int = CHECKPOINT_EVERY,
        runtime: Runtime = RUNTIME,
        **which: Unpack[Examples],
    ) -> "Likra":
        """Train the adapters; returns this Likra, or raises InputError and leaves it as it was.

        Args:
            data: A source's name, a loaded source (its training split is used), records in memory (see `likra.load`),
                questions, or unpaired examples.
            state, checkpoint_every: Folder for the state of the run, so that a killed run goes on from it (remove it
                after saving), and how many optimisation steps there are between two states.
            runtime: Memory and progress.
            **which: Which examples are made of the data (negatives, unrelated, limit, shots), and `keep_data`.
        """
        config, recipe, source = self.training_config, self.recipe, loaded(data)
        found = TrainingSet.of(self.base, self.heads, source, style=self.style, seed=config.seed, **which)
        if recipe:
            config = by_recipe(recipe, found.counts, source, config)
            found.facts["recipe"] = recipe
        run = Run(state, checkpoint_every, runtime)
        self.stack, self.losses = fit(self.base, found.pairs, config, run, before=self.stack)
        self.training_config, self.recipe, self.style = config, recipe, found.style
        self.training, self.records = found.facts, found.records
        self.calibration, self.lone_calibration, self.evaluations, self.revision = None, None, [], None
        return self

    @alone_with_base
    def likelihoods(
        self, questions: Sequence[Question], prompter: Prompter | None = None, *, runtime: Runtime = QUIET, **how: Any
    ) -> Likelihoods:
        """The table of base and adapters on some questions, from which all scores come; default: without examples."""
        prompter = prompter or Prompter(self.style)
        meta: dict[str, Any] = {"base": self.base.name, "fingerprint": self.base.fingerprint}
        meta |= {"style": prompter.style, "shots": prompter.shots}
        names, stack = (BASE, *self.heads), self.trained if self.heads else None
        with runtime.reporting("Scoring", "questions") as move:
            how |= {"memory": runtime.memory, "cache": runtime.cache_folder, "progress": move}
            return loglikelihood.score(self.base, stack, questions, prompter, names, meta=meta, **how)

    @alone_with_base
    def score(
        self, question: str, choices: Sequence[str], *, scoring: Scoring | None = None, runtime: Runtime = QUIET
    ) -> list[Candidate]:
        """Score candidate answers to one question, in the order given; raises InputError where one is empty or long."""
        table = self.likelihoods([few_shot.checked(self.style, question, choices)], runtime=runtime)
        return self.candidates(table, scoring)[0]

    @alone_with_base
    def rank(
        self, question: str, choices: Sequence[str], *, scoring: Scoring | None = None, runtime: Runtime = QUIET
    ) -> list[Candidate]:
        """The candidates of `score`, best first."""
        found = self.score(question, choices, scoring=scoring, runtime=runtime)
        return sorted(found, key=lambda candidate: -candidate.score)

    @alone_with_base
    def pick(
        self,
        prompt: str,
        *,
        decoding: Decoding | None = None,
        scoring: Scoring | None = None,
        runtime: Runtime = RUNTIME,
    ) -> list[Candidate]:
        """Best of n: answers drawn from the base (default: 16 at temperature 1), best first, each once."""
        drawn = decoding or Decoding(answers=16, temperature=1.0)
        [texts] = self.generate(prompt, method="base", decoding=drawn, runtime=runtime)
        return once(self.rank(prompt, choices_of(self.style, texts), scoring=scoring, runtime=runtime.quiet()))

    def candidates(self, table: Likelihoods, scoring: Scoring | None = None) -> list[list[Candidate]]:
        """The scored candidates of every question of a table from `likelihoods`: arithmetic, no model."""
        return self._judge.candidates(table, scoring)

    @alone_with_base
    def evaluate(
        self,
        data: Data,
        *,
        controls: bool = False,
        scoring: Scoring | None = None,
        runtime: Runtime = RUNTIME,
        **which: Unpack[Selection],
    ) -> Evaluation | Verification:
        """Accuracy of base, SFT, Base-Likra and Likra (those that the adapters allow) on questions with known answers.

        Of unpaired data a `Verification`: how well they tell right completions from wrong ones.

        Args:
            data: A source's name, a loaded source, records in memory, questions, or unpaired examples.
            controls: Also without the question, with another one, and by the look of the answers (`Evaluation`).
            scoring, runtime: Weight and normalization; memory, cache and progress.
            **which: Which of the questions, after which examples (split, limit, shots, sampled_shots, few_shot). The
                default split is test, or validation; all of data that names no splits and did not train the adapters.
        """
        source, seed = loaded(data, self.training), self.training_config.seed
        if isinstance(source, Source):
            which["split"], _ = provenance.split_to_judge(self.training, source, which.get("split"))

        def read(asked: Sequence[Question], worded: Sequence[Prompter]) -> list[Likelihoods]:
            return [self.likelihoods(asked, one, runtime=runtime) for one in worded]

        if is_unpaired(source):
            return self._judge.verify(LoneCandidates.of(source, self.style, **which), read, scoring)
        questions, prompter = few_shot.with_few_shot(source, self.style, **which)
        answers = provenance.answers(self.training, source, questions, seed) if controls else None
        return self._judge.evaluate(questions, prompter, partial(read, questions), scoring, answers)

    @alone_with_base
    def cross_validate(
        self,
        data: Data,
        *,
        runtime: Runtime = RUNTIME,
        **how: Unpack[Folding],
    ) -> CrossValidation | CrossVerification:
        """Judge every record once, by heads that learned from other folds; this Likra stays as it is.

        Args:
            data: A source's name, a loaded source, questions, or unpaired examples.
            runtime: Memory, cache and progress.
            **how: folds, learning_rates, epochs, ... (`likra.training.cross_validation.cross_validate`).
        """
        layers = self.stack.remove() if self.stack else None
        try:
            about = (self.base, self.heads, self.training_config, loaded(data))
            rest: dict[str, Any] = {"recipe": self.recipe, "style": self.style, "weight": self.weight}
            return cross_validate(*about, **rest, run=Run(runtime=runtime), **how)
        finally:
            if self.stack and layers is not None:
                self.stack.attach(layers)

    @alone_with_base
    def calibrate(
        self,
        data: Data,
        *,
        method: str = "temperature",
        error_budget: float | None = None,
        scoring: Scoring | None = None,
        runtime: Runtime = RUNTIME,
        **which: Unpack[Selection],
    ) -> CalibrationRecord:
        """Fit what turns scores into probabilities, on questions that the adapters were not trained on.

        On unpaired data: what turns a candidate's score into the probability that it is right by itself. It is kept in
        `calibration`, or in `lone_calibration`, if it helps (`CalibrationRecord.helps`); else an earlier one stays.

        Args:
            data, runtime, **which: As in `evaluate`; the default split is validation, or all of data that names no
                splits and did not train the adapters, or the training questions that `fit(limit=...)` left over.
            method: One of `likra.scoring.CALIBRATIONS`, of unpaired data `temperature`, with a bias (Platt 1999); or
                `plain`, the scores as they are.
            error_budget: Also choose what can be automated at this budget (`likra.scoring.budget.choose`).
            scoring: Probabilities are given for scores of this weight and normalization only.
        """
        if error_budget is not None:
            check_error_budget(error_budget)
        source, name, place = loaded(data, self.training), None, None
        check_calibration(method, lone=is_unpaired(source))
        if isinstance(source, Source):
            name, seed = source.name, self.training_config.seed
            source, which["split"], place = provenance.held_out(self.training, source, which.get("split"), seed)
        found = self.evaluate(source, scoring=scoring, runtime=runtime, **which)
        if isinstance(found, Verification):
            record = calibrate_lone_on(found, method, data=name, split=place)
            self.lone_calibration = record if record.helps else self.lone_calibration
        else:
            record = calibrate_on(found, method, data=name, split=place, error_budget=error_budget)
            self.calibration = record if record.helps else self.calibration
        return record

    def probable(
        self, scoring: Scoring | None = None, shots: int = 0, style: str | None = None, *, lone: bool = False
    ) -> Calibration | None:
        """What turns such scores into probabilities (`lone`: of each candidate by itself), if there is something."""
        return self._judge.probable(scoring, shots, style, lone=lone)

    @alone_with_base
    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        method: str | None = None,
        decoding: Decoding | None = None,
        contrast: Contrast | None = None,
        runtime: Runtime = RUNTIME,
    ) -> list[list[str]]:
        """Answers to one or more questions, greedy by default (`likra.generation.writing.write`).

        `method` says who writes: `likra`, `base_likra`, `sft` or `base`; default: the first that the adapters allow.
        """
        texts = [prompts] if isinstance(prompts, str) else [*prompts]
        readers, way = READERS[method_of(self.heads, method)], decoding or Decoding()
        return writing.write(self.trained, readers, self.style, texts, way, contrast, runtime)

    @alone_with_base
    def merge(self, folder: str | Path, *, contrast: Contrast | None = None) -> None:
        """Write one ordinary adapter by arithmetic on weights (`likra.generation.writing.write_merged`)."""
        writing.write_merged(self.trained, READERS[method_of(self.heads)], contrast or Contrast(), Path(folder))

    @alone_with_base
    def distill(
        self,
        data: str | Source | Sequence[str],
        folder: str | Path,
        *,
        runtime: Runtime = RUNTIME,
        **how: Unpack[writing.Distilling],
    ) -> list[float]:
        """Train one ordinary adapter to say what both say together (`likra.generation.writing.write_distilled`)."""
        readers, prompts = READERS[method_of(self.heads)], loaded(data)
        return writing.write_distilled(self.trained, readers, self.style, prompts, Path(folder), runtime, **how)

    @alone_with_base
    def save_pretrained(self, folder: str | Path) -> None:
        """Write the adapters, in PEFT's format, with a `likra.json` and a model card, to a new or empty folder."""
        warn_where_peft_differs(self.trained)
        names = {name: name for name in self.heads}
        with new_folder(Path(folder)) as work:
            how = (self.training_config, self.weight, self.style, self.training, self.losses)
            write_heads(work, self.trained, names, *how)
            write_beside(work, (self.calibration, self.lone_calibration), self.evaluations, self.records)
            write_card(work, at=Path(folder))

    def push_to_hub(self, repo_id: str, *, commit_message: str | None = None, **how: Any) -> str:
        """Save to a repository `owner/name` of the hub (`likra.hub.model_card.push`); gives its address."""
        with tempfile.TemporaryDirectory() as work:
            self.save_pretrained(folder := Path(work) / "heads")
            return push(folder, repo_id, message=commit_message, **how)

    @property
    def training_config(self) -> TrainingConfig:
        return self._training_config

    @training_config.setter
    def training_config(self, config: TrainingConfig) -> None:
        self._training_config, self.recipe = config, None

    @property
    def trained(self) -> HeadStack:
        """The adapters. Raises StateError where there are none yet."""
        if self.stack is None:
            raise StateError("this Likra has no heads yet; call fit, or load one with from_pretrained.")
        return self.stack

    @property
    def _judge(self) -> Judge:
        labels = learned_labels(self.training)
        return Judge(self.heads, self.weight, self.style, self.calibration, self.lone_calibration, labels)
