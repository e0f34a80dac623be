"""Heads of every fold of a cross-validation, trained in one stack, and what they say of the records they never saw."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from likra.data.controls import BLIND, control, has_controls
from likra.data.folds import foldable, folds_of, shared_choices
from likra.data.question import Example, Question
from likra.data.sources import Source, in_style_of
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.data.unpaired import LoneCandidates, is_unpaired
from likra.engine.hidden_states import hidden_states
from likra.engine.loglikelihood import encode_question, score
from likra.errors import InputError
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.cross_validation import CrossValidation, Recipe, joined
from likra.scoring.cross_verification import CrossVerification
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE, Floats, Ints, Likelihoods
from likra.scoring.text_classifier import classifier_scores, tfidf_lone, tfidf_scores
from likra.scoring.verification import Verification
from likra.training.checkpoint import claim
from likra.training.config import TrainingConfig
from likra.training.dataset import TrainingSet, drawn
from likra.training.fit import Run, untrained
from likra.training.recipe import PAPER, by_recipe
from likra.training.seeds import adapter_seed
from likra.training.step import Step
from likra.training.trainer import Trainer
from likra.utils.progress import Move

#: Places of some records in the whole, what the columns of their table are called there, and the table.
_Piece = tuple[Ints, Sequence[str], Likelihoods]


class Folding(TypedDict, total=False):
    """The keyword arguments of `cross_validate` that say what is tried, and on what."""

    folds: int
    learning_rates: Sequence[float]
    epochs: Sequence[int]
    normalization: str
    negatives: str
    unrelated: Sequence[str]
    limit: int | None
    hidden: bool
    shares: Sequence[float]


def cross_validate(
    base: Base,
    adapters: Sequence[str],
    config: TrainingConfig,
    data: Source | Sequence[Question] | Sequence[Example],
    *,
    folds: int = 5,
    recipe: str | None = None,
    learning_rates: Sequence[float] = (),
    epochs: Sequence[int] = (),
    style: str = "qa",
    weight: float = 1.0,
    normalization: str = "raw",
    negatives: str = "incorrect",
    unrelated: Sequence[str] = (),
    limit: int | None = None,
    hidden: bool = False,
    shares: Sequence[float] = (),
    run: Run | None = None,
) -> CrossValidation | CrossVerification:
    """Judge every record once, by heads that learned from the other folds (`likra.data.folds.folds_of`).

    The heads of all folds are one stack, and end as they would alone (`Trainer`). Each learning rate has a stack of its
    own. One run gives every number of epochs: after n of its epochs a head is what n epochs alone make of it.

    Args:
        base: The base; it carries no heads.
        adapters: `positive`, `negative`, or both.
        config: How they are trained; its learning rate and its epochs stand for all, unless others are chosen.
        data: A source (of data that names no splits all records are used, else not its test split), questions, or
            unpaired examples.
        folds: How many folds; drawn by the configuration's seed.
        recipe: One of `likra.training.recipe.RECIPES`: what takes the place of the configuration's learning rate and
            epochs, as training on all of the data would take them; where some are to be tried, the first of these, or
            the paper's. None: the configuration's own.
        learning_rates: What to try beside the configuration's.
        epochs: Numbers of epochs to try beside the configuration's; they need a constant learning rate.
        style: Prompt template of data that is not a source.
        weight, normalization: Of the scores, unless others are chosen.
        negatives, unrelated: As in `TrainingSet.of`.
        limit: Use only so many questions, drawn by the configuration's seed.
        hidden: Also judge by a logistic regression on the base's hidden states.
        shares: Also train on so large parts of each fold's training records, at the configuration's own recipe, for
            accuracy against size.
        run: Where the run keeps its state, and what it may take.

    Raises:
        InputError: There are fewer different questions than folds, or the data cannot train these adapters.
    """
    run = run or Run()
    if isinstance(data, Source):
        data = in_style_of(data, style)
        style, items = data.style, foldable(data)
    else:
        items = cast(list[Question], list(data))
    items = drawn(items, limit, config.seed)
    lone = LoneCandidates.of(cast(list[Example], items), style) if is_unpaired(items) else None
    if lone and (learning_rates or epochs or shares or hidden):
        raise InputError("unpaired data (prompt, completion, label) is judged at one recipe; give no others.")
    asked = lone.questions if lone else cast(list[Question], items)
    prompter = lone.prompter if lone else Prompter(style)
    fold_Q = np.array(folds_of(items, folds, config.seed))
    if recipe and (learning_rates or epochs):  # beside what is given, the paper's
        first = Recipe([*learning_rates, PAPER.learning_rate][0], [*epochs, PAPER.num_train_epochs][0])
        config = dataclasses.replace(config, **vars(first))
    elif recipe:
        how: dict[str, Any] = {"style": style, "negatives": negatives, "unrelated": unrelated, "seed": config.seed}
        config = by_recipe(recipe, TrainingSet.of(base, adapters, items, **how).counts, data, config)
    plan = _Plan(base, tuple(adapters), items, asked, prompter, fold_Q, style, run, hidden)
    default = Recipe(config.learning_rate, config.num_train_epochs)
    rates = sorted({default.learning_rate, *learning_rates})
    numbers = sorted({default.num_train_epochs, *epochs})
    if len(numbers) > 1 and (config.lr_scheduler_type != "constant" or config.warmup_ratio):
        raise InputError("epochs can be compared in one run only at a constant learning rate, without warm-up.")
    learned = plan.learned(negatives, unrelated, config.seed)
    if run.state:
        plan.claim(run.state, config, numbers, learned)
    trials = [(rate, 1.0) for rate in rates] + [(default.learning_rate, share) for share in sorted(shares)]
    tables: dict[Recipe, Likelihoods] = {}
    smaller: dict[int, Likelihoods] = {}
    with run.runtime.reporting("Cross-validation", "steps") as move:
        for place, (rate, share) in enumerate(trials):
            here = dataclasses.replace(config, learning_rate=rate)
            shown = partial(_shown, move, place, len(trials))
            if share == 1:
                tables |= plan.tried(here, numbers, learned, shown)
            else:
                some = plan.learned(negatives, unrelated, config.seed, share)
                [table] = plan.tried(here, [config.num_train_epochs], some, shown, f"{share:g}-").values()
                smaller[round(share * len(items) * (folds - 1) / folds)] = table
    if lone:
        return plan.verification(tables[default], lone, weight, normalization)
    beside = plan.beside(tables[default])
    return CrossValidation(tables, default, plan.fold_Q, weight, normalization, beside=beside, smaller=smaller)


def _shown(move: Move, trial: int, trials: int, step: int, steps: int, note: str) -> None:
    """Progress over trials, as if each took as many steps as the one that is under way."""
    move(trial * steps + step, trials * steps, note)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is judged, by whom."""

    base: Base
    adapters: tuple[str, ...]
    items: list[Question] | list[Example]
    questions: list[Question]
    prompter: Prompter
    fold_Q: Ints
    style: str
    run: Run
    hidden: bool

    @property
    def folds(self) -> range:
        return range(int(self.fold_Q.max()) + 1)

    def name(self, fold: int, adapter: str) -> str:
        """What a fold's adapter is called in the stack."""
        return f"fold{fold}-{adapter}"

    def rows(self, fold: int) -> Ints:
        """Places of a fold's questions."""
        return np.flatnonzero(self.fold_Q == fold)

    def rest(self, fold: int) -> list[Question]:
        """What a fold's heads learn from; of unpaired data examples."""
        return [cast(Question, item) for item, own in zip(self.items, self.fold_Q, strict=True) if own != fold]

    def learned(
        self, negatives: str, unrelated: Sequence[str], seed: int, share: float = 1.0
    ) -> dict[str, list[TokenizedExample]]:
        """Head in the stack -> what it learns: so large a part of its fold's training records, drawn by the seed."""
        how: dict[str, Any] = {"style": self.style, "negatives": negatives, "unrelated": unrelated, "seed": seed}
        return {
            self.name(fold, adapter): pairs
            for fold in self.folds
            for rest in [self.rest(fold)]
            for adapter, pairs in TrainingSet.of(
                self.base, self.adapters, rest, limit=None if share == 1 else max(1, round(share * len(rest))), **how
            ).pairs.items()
        }

    def claim(
        self, state: Path, config: TrainingConfig, epochs: Sequence[int], learned: dict[str, list[TokenizedExample]]
    ) -> None:
        """Raise InputError where a folder holds the state of another run; mark it as this one's.

        Learning rates may be added: each has a state of its own.
        """
        how = {**config.as_dict(), "learning_rate": None}
        claim(state, f"{self.base.fingerprint} {self.style} {how} {epochs} {self.fold_Q.tolist()} {learned}")

    def tried(
        self,
        config: TrainingConfig,
        epochs: Sequence[int],
        learned: dict[str, list[TokenizedExample]],
        show: Callable[[int, int, str], None],
        called: str = "",
    ) -> dict[Recipe, Likelihoods]:
        """The table of all questions after each number of epochs, at one learning rate.

        Args:
            config: How heads are trained; its epochs are not used.
            epochs: Numbers of epochs, rising.
            learned: Head in the stack -> what it learns.
            show: Called with steps done, steps in all, and a note.
            called: Begins the name of the folder of the run's state, and of the run where it is logged.
        """
        config = dataclasses.replace(config, num_train_epochs=epochs[-1])
        total = max(config.steps(len(pairs)) for pairs in learned.values())
        seeds = [adapter_seed(config.seed, name.endswith(f"-{NEGATIVE}")) for name in learned]
        stack = untrained(self.base, learned, config, seeds)
        trial = f"{called}{config.learning_rate:g}"
        state = self.run.state / trial if self.run.state else None
        pieces: dict[int, list[_Piece]] = {number: [] for number in epochs}
        seen: dict[str, int] = {}
        waiting = [(number, *heads) for number in epochs for heads in self._together(config, learned)]

        def watch(step: Step) -> None:
            tracked.log(step.figures, step.step)
            show(step.step, total, f"(learning rate {config.learning_rate:g})")
            seen.update(step.examples)
            for number, fold, adapters in list(waiting):
                names = [self.name(fold, adapter) for adapter in adapters]
                if all(seen.get(name, 0) >= number * len(learned[name]) for name in names):
                    waiting.remove((number, fold, adapters))
                    show(step.step, total, f"(scoring after {number} epochs)" if len(epochs) > 1 else "(scoring)")
                    kept = state and state / f"{number}-{names[0]}.parquet"
                    pieces[number].append(self._read(stack, fold, adapters, kept))

        known = {"base": self.base.name, **config.as_dict(), "folds": len(self.folds)}
        try:
            with self.run.runtime.tracking.run(f"folds-{trial}", known, state) as tracked:
                how: dict[str, Any] = {"checkpoints": state, "checkpoint_every": self.run.checkpoint_every}
                how["on_resume"] = lambda steps: tracked.go_on((step.figures, step.step) for step in steps)
                trainer = Trainer(stack, learned, config, memory=self.run.runtime.memory, on_step=watch, **how)
                for step in trainer.run():  # those before a resumption too, whose tables are kept beside the state
                    watch(step)
        finally:
            stack.remove()
        heads = (BASE, *self.adapters)
        return {
            Recipe(config.learning_rate, number): joined(pieces[number], len(self.questions), heads)
            for number in epochs
        }

    def _together(
        self, config: TrainingConfig, learned: dict[str, list[TokenizedExample]]
    ) -> Iterator[tuple[int, list[str]]]:
        """Folds, and adapters of each that end their epochs at the same steps: they are read together with the base."""
        one = dataclasses.replace(config, num_train_epochs=1)
        for fold in self.folds:
            by_steps: dict[int, list[str]] = {}
            for adapter in self.adapters:
                by_steps.setdefault(one.steps(len(learned[self.name(fold, adapter)])), []).append(adapter)
            yield from ((fold, adapters) for adapters in by_steps.values())

    def _read(self, stack: HeadStack, fold: int, adapters: Sequence[str], kept: Path | None) -> _Piece:
        """What adapters of one fold, and the base, say of the fold's questions."""
        rows, columns = self.rows(fold), [BASE, *adapters]
        if kept and kept.exists():
            # A saved table does not have all of a question (earlier turns, a state).
            found = Likelihoods.load(kept)
            return rows, columns, dataclasses.replace(found, questions=[self.questions[row] for row in rows])
        names = [BASE, *(self.name(fold, adapter) for adapter in adapters)]
        table = self._score(stack, [self.questions[row] for row in rows], self.prompter, names)
        if kept:
            table.save(kept)
        return rows, columns, table

    def _score(
        self, stack: HeadStack | None, questions: Sequence[Question], prompter: Prompter, names: Sequence[str]
    ) -> Likelihoods:
        runtime = self.run.runtime
        meta = {"base": self.base.name, "fingerprint": self.base.fingerprint, "style": self.style, "shots": 0}
        how: dict[str, Any] = {"memory": runtime.memory, "cache": runtime.cache_folder, "meta": meta}
        return score(self.base, stack, questions, prompter, names, **how)

    def beside(self, table: Likelihoods) -> dict[str, Floats]:
        """Scores of what needs no adapters: PMI, where a prompt can be taken away, and classifiers on the same folds.

        Args:
            table: Of all questions.
        """
        found: dict[str, Floats] = {}
        if has_controls(self.style):
            blind = control(BLIND, self.questions, self.prompter)
            found["pmi"] = table.head(BASE) - self._score(None, self.questions, blind, (BASE,)).head(BASE)
        found["tfidf"] = self._classified(lambda fold, learned, judged: tfidf_scores(learned, judged))
        if self.hidden:
            found["hidden"] = self._of_hidden_states()
        return found

    def verification(
        self, table: Likelihoods, lone: LoneCandidates, weight: float, normalization: str
    ) -> CrossVerification:
        """What is found of unpaired data."""
        table.meta["labels"] = list(lone.labels)
        alone = self._score(None, self.questions, lone.alone, (BASE,))
        alone.meta["labels"] = list(lone.labels)
        texts = [f"{question.transcript}\n{question.choices[0]}" for question in self.questions]
        tfidf_N = np.full(len(texts), np.nan)
        for fold in self.folds:
            own_N = self.fold_Q == fold
            learned = [text for text, own in zip(texts, own_N, strict=True) if not own]
            right = [right for right, own in zip(lone.labels, own_N, strict=True) if not own]
            tfidf_N[own_N] = tfidf_lone(learned, right, [text for text, own in zip(texts, own_N, strict=True) if own])
        positive, negative = (name if name in self.adapters else None for name in (POSITIVE, NEGATIVE))
        found = Verification(table, alone, positive, negative, weight, normalization)
        return CrossVerification(found, self.fold_Q, tfidf_N)

    def _of_hidden_states(self) -> Floats:
        """Scores [Q, C] of a logistic regression on the base's hidden states: of what is asked, where questions share
        their choices (the mean over its tokens); else of each candidate (at its last token)."""
        classes = shared_choices(self.questions) is not None
        encoded = [encode_question(self.base, question, self.prompter) for question in self.questions]
        read = [pairs[0].context for pairs in encoded] if classes else [p.inputs for pairs in encoded for p in pairs]
        states_ND = hidden_states(self.base, read, mean=classes)
        owner_N = np.arange(len(encoded)) if classes else np.repeat(range(len(encoded)), [len(p) for p in encoded])

        def judged(fold: int, learned: list[Question], asked: list[Question]) -> Floats:
            own_N = self.fold_Q[owner_N] == fold
            return classifier_scores(learned, asked, states_ND[~own_N], states_ND[own_N], scaled=True)

        return self._classified(judged)

    def _classified(self, scores_of: Callable[[int, list[Question], list[Question]], Floats]) -> Floats:
        """Scores [Q, C] by a classifier that is fitted for each fold, given what it learns from and what it judges."""
        scores_QC = np.full((len(self.questions), max(len(question.choices) for question in self.questions)), np.nan)
        for fold in self.folds:
            rows = self.rows(fold)
            own_QC = scores_of(fold, self.rest(fold), [self.questions[row] for row in rows])
            scores_QC[rows, : own_QC.shape[1]] = own_QC
        return scores_QC
