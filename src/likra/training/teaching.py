"""Trained heads go on learning: they themselves, and, to be judged, copies that learn without a fold each.

All are one stack, beside the heads as they were, so that before and after are read in one batch.
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from likra.data.records import Item, by_kind
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.data.unpaired import LoneCandidates
from likra.engine.loglikelihood import score
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.cross_validation import joined
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE
from likra.scoring.teaching import BEFORE, Compared
from likra.training.config import TrainingConfig
from likra.training.corrections import Lesson, asked_in
from likra.training.dataset import TrainingSet
from likra.training.fit import Run
from likra.training.seeds import adapter_seed
from likra.training.step import Step
from likra.training.trainer import Trainer

#: Head in a stack -> what it learns.
Learned = dict[str, list[TokenizedExample]]


def with_copies(stack: HeadStack, copies: Mapping[str, str]) -> HeadStack:
    """A stack in this one's place that has copies of its heads too.

    Args:
        stack: The stack; its heads stay as they are.
        copies: Name of a copy -> its head.
    """
    found = stack.rebuilt([*stack.names, *copies], max(stack.ranks))
    for name, head in copies.items():
        rank = found.ranks[found.index(head)]
        found.set_weights(name, found.weights(head), rank=rank, scaling=found.scaling(head))
    return found


def spread(
    new: Sequence[TokenizedExample], replayed: Sequence[TokenizedExample], epochs: int, seed: int
) -> list[TokenizedExample]:
    """The examples of some epochs, in their order: in each the new ones, and a part of those that are replayed.

    These have been learned before. So each comes once, and more of them are different.
    """
    found = []
    for epoch in range(epochs):
        part = [*new, *replayed[epoch::epochs]]
        random.Random(f"{seed} {epoch}").shuffle(part)  # as `Trainer` does
        found += part
    return found


@dataclass(frozen=True)
class Heads:
    """Heads that learn more, how their records are worded, and where the run keeps its state.

    Attributes:
        base: Their base.
        adapters: `positive`, `negative`, or both.
        config: How they were trained.
        style, negatives: The prompt template, and the kind of negatives, that they learned.
        weight: w in L+ - w * L-.
        run: Where the run keeps its state, and what it may take.
    """

    base: Base
    adapters: tuple[str, ...]
    config: TrainingConfig
    style: str
    negatives: str
    weight: float
    run: Run

    @property
    def before(self) -> dict[str, str]:
        """Name of a head as it was before teaching -> the head."""
        return {f"{BEFORE}{adapter}": adapter for adapter in self.adapters}

    def of_fold(self, fold: int) -> dict[str, str]:
        """Name of a head that learns without a fold -> the head that it is a copy of."""
        return {f"fold{fold}-{adapter}": adapter for adapter in self.adapters}

    def learned(self, lesson: Lesson, names: Mapping[str, str], without: Collection[str] = ()) -> Learned:
        """What heads learn in a round: in one epoch; where records are replayed, in all epochs, in their order.

        Args:
            lesson: The round.
            names: Name of a head in the stack -> `positive` or `negative`.
            without: What is asked by records that are left out.
        """
        here = lesson.without(without)
        new, old = self._pairs(here.new), self._pairs(here.replayed)
        found = {}
        for name, role in names.items():
            found[name] = own = new.get(role, [])
            if lesson.replayed:
                epochs = lesson.recipe.num_train_epochs
                found[name] = spread(own, old.get(role, []), epochs, self.config.seed)
        return {name: pairs for name, pairs in found.items() if pairs}

    def _pairs(self, items: Sequence[Item]) -> Learned:
        how: dict[str, Any] = {"style": self.style, "negatives": self.negatives, "seed": self.config.seed}
        questions, examples = by_kind(items)
        labels = {POSITIVE if example.right else NEGATIVE for example in examples}
        found: Learned = {}
        for some, roles in ((questions, {*self.adapters}), (examples, labels)):
            able = [adapter for adapter in self.adapters if adapter in roles]
            if some and able:
                for role, pairs in TrainingSet.of(self.base, able, some, **how).pairs.items():
                    found.setdefault(role, []).extend(pairs)
        return found

    def learn(self, stack: HeadStack, learned: Learned, lesson: Lesson, name: str, label: str) -> list[Step]:
        """Train some heads of a stack on.

        Args:
            stack: The stack; heads without examples stay as they are.
            learned: What they learn.
            lesson: The round.
            name: Of the folder of the state.
            label: What is going on, in words.
        """
        config = replace(self.config, **vars(lesson.recipe))
        if lesson.replayed:  # all epochs are in their order
            config = replace(config, num_train_epochs=1)
        with self.run.runtime.reporting(label, "steps") as move:
            trainer = Trainer(
                stack,
                learned,
                config,
                seeds=dict.fromkeys(learned, None) if lesson.replayed else {},
                checkpoints=self.run.state and self.run.state / name,
                checkpoint_every=self.run.checkpoint_every,
                memory=self.run.runtime.memory,
                on_step=lambda step: move(step.step, trainer.total_steps, ""),
            )
            return trainer.run()

    def compared(
        self,
        stack: HeadStack,
        items: Sequence[Item],
        names_of: Callable[[int], Iterable[str]],
        fold_of: Mapping[str, int],
    ) -> Compared:
        """Records of one kind, as heads judge them before and after.

        Args:
            stack: The stack.
            items: The records.
            names_of: Gives, for a fold, the names of the heads that judge it: those before, then those after.
            fold_of: What a record asks -> its fold; empty where one pair of heads judges all.
        """
        fold_Q = np.array([fold_of.get(item.asked, 0) for item in items])
        questions, examples = by_kind(items)
        lone = LoneCandidates.of(examples, self.style) if examples else None
        asked, prompter = (lone.questions, lone.prompter) if lone else (questions, Prompter(self.style))
        columns, pieces = (BASE, *self.before, *self.adapters), []
        meta = {"base": self.base.name, "fingerprint": self.base.fingerprint, "style": self.style, "shots": 0}
        how: dict[str, Any] = {"memory": self.run.runtime.memory, "cache": self.run.runtime.cache_folder, "meta": meta}
        with self.run.runtime.reporting("Scoring", "records") as move:
            for fold in np.unique(fold_Q).tolist():
                rows = np.flatnonzero(fold_Q == fold)
                table = score(self.base, stack, [asked[row] for row in rows], prompter, [BASE, *names_of(fold)], **how)
                pieces.append((rows, columns, table))
                move(sum(len(rows) for rows, _, _ in pieces), len(items), "")
        whole = joined(pieces, len(items), columns)
        if lone:
            whole.meta["labels"] = list(lone.labels)
        return Compared(whole, max(fold_of.values()) + 1 if fold_of else None, self.weight)


@dataclass(frozen=True)
class Repetition:
    """The old training done again without each fold of the old records, then the teaching: what is lost on a record is
    seen by heads that never learned it, neither before nor after.

    Attributes:
        heads: The heads.
        lessons: All rounds; the last one is the teaching.
        judged: The old records that are judged.
        fold_of: What they ask -> fold.
    """

    heads: Heads
    lessons: Sequence[Lesson]
    judged: Sequence[Item]
    fold_of: Mapping[str, int]

    @property
    def folds(self) -> range:
        return range(max(self.fold_of.values()) + 1)

    def learned(self) -> list[Learned]:
        """What the heads of all folds learn in each round."""
        return [
            {
                name: pairs
                for fold in self.folds
                for name, pairs in self.heads.learned(
                    lesson, self.heads.of_fold(fold), asked_in(self.fold_of, fold)
                ).items()
            }
            for lesson in self.lessons
        ]

    def run(self, shape: HeadStack, learned: Sequence[Learned]) -> list[Compared]:
        """Train, and judge: the questions, and the unpaired records, as far as there are some.

        Args:
            shape: The heads, removed from their base: where theirs act, these do.
            learned: What `learned` gave.
        """
        heads, config = self.heads, self.heads.config
        names = {name: role for fold in self.folds for name, role in heads.of_fold(fold).items()}
        stack = HeadStack(
            heads.base,
            list(names),
            lora=config.lora,
            adapt=shape.adapt,
            invocation_tokens=shape.invocation_tokens,
            seeds=[adapter_seed(config.seed, role == NEGATIVE) for role in names.values()],
        )
        try:
            for number, (lesson, some) in enumerate(zip(self.lessons, learned, strict=True)):
                if number == len(self.lessons) - 1:
                    stack = with_copies(stack, {f"{BEFORE}{name}": name for name in names})
                heads.learn(stack, some, lesson, f"old-{number}", "Repeating the old training")

            def names_of(fold: int) -> list[str]:
                after = list(heads.of_fold(fold))
                return [*(f"{BEFORE}{name}" for name in after), *after]

            return [heads.compared(stack, some, names_of, self.fold_of) for some in by_kind(self.judged) if some]
        finally:
            stack.remove()
