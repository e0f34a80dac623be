"""From questions or thumbs to the tokens that each adapter learns."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from likra.data.canonical import composed
from likra.data.negatives import negatives as make_negatives
from likra.data.negatives import positives as make_positives
from likra.data.overlap import sketch
from likra.data.question import Example, Question
from likra.data.records import Records
from likra.data.sources import Source, in_style_of, right_answers
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.errors import InputError
from likra.scoring.likelihoods import NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from likra.models.base import Base

Data = Source | Sequence[Question] | Sequence[Example]


class Examples(TypedDict, total=False):
    """The keyword arguments of `TrainingSet.of` that say which examples are made of the data."""

    negatives: str
    unrelated: Sequence[str]
    limit: int | None
    shots: int
    keep_data: bool


@dataclass(frozen=True)
class TrainingSet:
    """What adapters are trained on.

    Attributes:
        pairs: adapter (`positive`, `negative`) -> its examples, as tokens.
        style: The prompt template that words them.
        facts: What is kept of them with the adapters: source, kind of negatives, shots, limit, how many there are, and
            a sketch of what they ask (`likra.data.overlap`); of a table its fields and labels.
        records: The records themselves, and those of a source's other splits, where they are to be kept.
    """

    pairs: dict[str, list[TokenizedExample]]
    style: str
    facts: dict[str, Any]
    records: Records | None = None

    @property
    def counts(self) -> list[int]:
        """How many examples each adapter learns."""
        return [len(found) for found in self.pairs.values()]

    @classmethod
    def of(
        cls,
        base: "Base",
        adapters: Sequence[str],
        data: Data,
        *,
        style: str,
        negatives: str = "incorrect",
        unrelated: Sequence[str] = (),
        limit: int | None = None,
        shots: int = 0,
        seed: int = 0,
        keep_data: bool = False,
    ) -> "TrainingSet":
        """The examples of each adapter: right answers for `positive`, wrong ones for `negative`.

        Args:
            base: Whose tokenizer is used.
            adapters: `positive`, `negative`, or both.
            data: A source (its training split is used), questions, or unpaired examples.
            style: The adapters' prompt template: of data that is not a source, and see `in_style_of`.
            negatives: Kind of negatives, one of `likra.data.NEGATIVE_KINDS`.
            unrelated: Answers for `negatives="unrelated"`.
            limit: Use only so many training questions (of unpaired data: examples of each label), drawn by `seed`.
            shots: Solved examples in each prompt.
            seed: Of the draws.
            keep_data: Whether to give the `records`.

        Raises:
            InputError: The data cannot train these adapters.
        """
        if isinstance(data, Source):
            data = in_style_of(data, style)
            style = data.style
        name, items = _items(data)
        base.check_style(style)
        if limit is not None and limit < 1:
            raise InputError(f"limit must be 1 or more, got {limit}.")
        if not items:
            raise InputError(f"{name}: has nothing to train on; a source needs a training split.")
        if isinstance(items[0], Example):
            if shots:
                raise InputError("shots must be 0 for unpaired data, which has no solved questions to show.")
            unpaired = cast(Sequence[Example], items)
            examples = {adapter: drawn(_side(unpaired, adapter, name), limit, seed) for adapter in adapters}
            learned: list[Any] = [example for some in examples.values() for example in some]
        else:
            questions = cast(list[Question], list(items))
            some, prompter = drawn(questions, limit, seed), Prompter(style, shots, questions)
            pool = unrelated if negatives == "unrelated" else right_answers(questions)
            made: dict[str, Callable[[], list[Example]]] = {
                POSITIVE: lambda: make_positives(some, prompter),
                NEGATIVE: lambda: make_negatives(some, prompter, negatives, seed=seed, pool=pool),
            }
            examples = {adapter: made[adapter]() for adapter in adapters}
            learned = some
        pairs = {adapter: _tokens(base, adapter, examples[adapter]) for adapter in adapters}
        facts = {
            "data": data.name if isinstance(data, Source) else None,
            "negatives": negatives,
            "shots": shots,
            "limit": limit,
            "asked": sketch(learned),
            "examples": {adapter: len(found) for adapter, found in pairs.items()},
            "prompts_cut": {adapter: sum(pair.cut > 0 for pair in found) for adapter, found in pairs.items()},
        }
        if isinstance(data, Source) and data.columns:
            facts["columns"] = asdict(data.columns) | {"labels": list(data.columns.labels)}
        held_out = _held_out(data) if isinstance(data, Source) else ()
        return cls(pairs, style, facts, Records((tuple(learned),), tuple(held_out)) if keep_data else None)


def drawn(items: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    """So many of some items, drawn by a seed; all of them where there are no more."""
    return list(items) if limit is None or limit >= len(items) else random.Random(seed).sample(items, limit)


def drawn_examples(examples: Sequence[Example], adapters: Sequence[str], limit: int | None, seed: int) -> list[Example]:
    """The unpaired examples that these adapters are trained on."""
    sides = [[one for one in examples if one.right == (adapter == POSITIVE)] for adapter in adapters]
    return [example for side in sides for example in drawn(side, limit, seed)]


def _items(data: Data) -> tuple[str, Sequence[Question] | Sequence[Example]]:
    """What data is called in messages, and its training items."""
    if not isinstance(data, Source):
        return "the data", data
    return data.name, data.examples.get("train", []) if data.unpaired else data.questions.get("train", [])


def _held_out(source: Source) -> list[Question | Example]:
    """What of a source no adapter learns from."""
    parts = source.examples if source.unpaired else source.questions
    return [item for split, some in parts.items() if split != "train" for item in some]


def _side(examples: Sequence[Example], adapter: str, name: str) -> list[Example]:
    """The completions that an adapter learns from."""
    found = [example for example in examples if example.right == (adapter == POSITIVE)]
    if not found:
        raise InputError(
            f"{name}: has no {'right' if adapter == POSITIVE else 'wrong'} completions (field 'label') to train the "
            f"{adapter} head on; add some or choose another role."
        )
    return found


def _tokens(base: "Base", adapter: str, examples: Sequence[Example]) -> list[TokenizedExample]:
    pairs = []
    for index, example in enumerate(examples):
        try:
            pairs.append(base.encode_pair(example.prompt, composed(example.completion)))
        except InputError as error:
            name = example.where or f"training example {index + 1} of the {adapter} head"
            raise InputError(f"{name}: {error}") from None
    return pairs
