"""The models of one server: several heads share one base, and one of them at a time has its adapters on it."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from likra.data import Question
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.engine.loglikelihood import encode_question
from likra.engine.tree import Tree
from likra.errors import InputError
from likra.likra import Likra
from likra.models.base import Base
from likra.scoring.likelihoods import Likelihoods
from likra.training.config import TrainingConfig
from likra.utils.runtime import Runtime

#: The tokens of each candidate of each question.
Encoded = Sequence[Sequence[TokenizedExample]]


def base_alone(base: Base) -> Likra:
    """A model without heads: candidates are scored by their log-likelihood under the base."""
    return Likra(base, (), TrainingConfig(), weight=1.0, style="qa")


class Models:
    """Models by name, the first of which answers where a request names none.

    Attributes:
        first: The name of the first.
    """

    def __init__(self) -> None:
        self._likras: dict[str, Likra] = {}
        self._stacks: dict[str, Any] = {}
        self._written: dict[str, datetime.date] = {}
        self._on: str | None = None
        self.first = ""

    @classmethod
    def of(cls, likras: Mapping[str, Likra]) -> "Models":
        """One model that is loaded already, or several on bases of their own."""
        found = cls()
        for name, likra in likras.items():
            found.add(name, likra)
        return found

    def add(self, name: str, likra: Likra, written: datetime.date | None = None) -> None:
        """One more model, which may be on the `base` of those that are there.

        Args:
            name: What clients call it.
            likra: Scores candidates.
            written: When its files were written; default: today.

        Raises:
            InputError: There is one of this name.
        """
        if name in self._likras:
            raise InputError(f"two models are named {name}; rename one of their folders.")
        likra.base = likra.base.faithful()
        self.first = self.first or name
        self._likras[name], self._on = likra, name
        self._written[name] = written or datetime.date.today()

    def base(self) -> Base | None:
        """The base of the models that are there, without adapters, for the next one; None where there is none yet."""
        self._off()
        return self._likras[self.first].base if self._likras else None

    def __getitem__(self, name: str) -> Likra:
        return self._likras[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self._likras)

    def described(self, name: str) -> dict[str, str]:
        """What `GET /v1/models` says of a model."""
        likra = self._likras[name]
        data = likra.training.get("data", "examples of its own")
        what = f"{' and '.join(likra.heads)} head, trained on {data}" if likra.heads else "untrained"
        return {
            "name": name,
            "description": f"{likra.base.name}: {what}",
            "release_date": self._written[name].isoformat(),
        }

    def named(self, asked: str | None) -> str:
        """The model for a request: the one that it names; a lone model whatever it names, as clients have defaults.

        Raises:
            InputError: There are several, and none of this name.
        """
        if asked in self._likras:
            return str(asked)
        if asked is None or len(self._likras) == 1:
            return self.first
        raise InputError(f"field 'model' is {asked[:80]!r}; this server has {', '.join(self._likras)}.")

    def read(
        self,
        name: str,
        questions: Sequence[Question],
        runtime: Runtime,
        on_tokens: Callable[[int, int], None] = lambda asked, read: None,
    ) -> tuple[Likelihoods, Encoded]:
        """The table of some questions under a model, and their tokens. In one thread only.

        Args:
            name: The model.
            questions: What to read.
            runtime: Memory that it may take.
            on_tokens: Called with the tokens of all candidates with their prompts, and with how many of them are read
                because the others are shared.
        """
        self._turn_to(name)
        likra = self._likras[name]
        prompter = Prompter(likra.style)
        encoded = [encode_question(likra.base, question, prompter) for question in questions]
        for question, pairs in zip(questions, encoded, strict=True):
            if question.state and (over := max(pair.cut for pair in pairs)):
                longer = len(question.state) >= len(question.text) - len(question.state)
                field, other = ("state", question.name) if longer else (question.name, "the state")
                raise InputError(
                    f"field {field!r} is too long: with {other} it has {over} tokens more than the "
                    f"{likra.base.max_length} that the model reads; shorten it."
                )
        table = likra.likelihoods(questions, runtime=runtime, encoded=encoded)
        on_tokens(sum(len(pair.inputs) for pairs in encoded for pair in pairs), distinct_tokens(encoded))
        return table, encoded

    def _turn_to(self, name: str) -> None:
        """Put the adapters of a model on the base, in the place of another's."""
        if name == self._on:
            return
        self._off()
        if name in self._stacks:
            stack, layers = self._stacks[name]
            try:
                stack.attach(layers)
            except BaseException:
                stack.remove()  # what has been put on the base by now, which belongs to nobody
                raise
            del self._stacks[name]
            self._likras[name].stack = stack
        self._on = name

    def _off(self) -> None:
        if self._on is not None and (stack := self._likras[self._on].stack) is not None:
            # Without its stack this Likra refuses to score, instead of scoring by the bare base.
            self._stacks[self._on] = stack, stack.remove()
            self._likras[self._on].stack = None
        self._on = None


def distinct_tokens(encoded: Encoded) -> int:
    """Tokens that are read of some candidates with their prompts: what several begin with counts once."""
    return len(Tree.of([(pair.inputs, 0) for pairs in encoded for pair in pairs]))
