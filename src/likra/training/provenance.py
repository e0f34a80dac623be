"""What must be known of adapters' training by whoever evaluates or calibrates them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from likra.data.canonical import canonical
from likra.data.negatives import negatives
from likra.data.overlap import KEPT, overlaps, shared, sketch, unknown
from likra.data.question import Example, Question
from likra.data.sources import Source, right_answers
from likra.data.templates import Prompter
from likra.errors import InputError
from likra.scoring.controls import Answers
from likra.scoring.likelihoods import NEGATIVE, POSITIVE
from likra.training.dataset import drawn, drawn_examples

logger = logging.getLogger(__name__)

_NEARLY_ALL, _GOOD_PART = 0.9, 0.5  # shares of questions, see `trained_by`


def remarks(
    facts: Mapping[str, Any], style: str, source: Source, split: str | None = None, limit: int | None = None
) -> list[str]:
    """Sentences for whoever evaluates adapters on the first `limit` questions of a split.

    Args:
        facts: What the adapters were trained on (`TrainingSet.facts`).
        style: Their prompt template.
        source, split, limit: The questions.
    """
    found = []
    if source.style != style:
        found.append(
            f"these heads learned prompts of the template {style!r}, and this data has the template "
            f"{source.style!r} (`likra data` shows it)"
        )
    if "asked" in facts:
        items = source.items(split)[:limit]
        seen = len(items) - len(unknown(facts["asked"], items))
        least = "at least " if len(facts["asked"].split()) == KEPT else ""
        some = f"{least}{seen} of these {len(items)}" if seen else ""
    else:  # adapters of before it was kept
        own = (split or source.default_split) in ("train", "all") and facts.get("data") == source.name
        some = "some of these" if own else ""
    if some:
        found.append(f"these heads were trained on {some} questions; leave them out for an honest figure")
    return found


def split_to_judge(facts: Mapping[str, Any], source: Source, split: str | None = None) -> tuple[str, str]:
    """The split of a source that adapters are judged on, and the same in words.

    Without `split`: all of it, unless it names splits or trained these adapters; else test, or validation where there
    is no test.

    Args:
        facts: What the adapters were trained on.
        source, split: The data, and the split where one was asked for.
    """
    if split is not None:
        return split, split
    if not source.hashed:
        return source.default_split, source.default_split
    if trained_by(facts, source):
        _check_not_all(facts, source)
        return source.default_split, f"{source.default_split}: held out by a hash, for the data trained these heads"
    return "all", "all: the data names no splits, and is not what trained these heads"


def _check_not_all(facts: Mapping[str, Any], source: Source) -> None:
    """Raise InputError where all of a source trained adapters, its test split too."""
    if "teaching" in facts and overlaps(facts["asked"], source.items(None)):
        raise InputError(
            f"{source.name}: all of it taught these heads, so none is held out; what it gained is in their likra.json "
            "(training.teaching), as `likra teach` printed it. Name new data, or a split to judge what they have seen."
        )
    if "tuning" in facts:
        raise InputError(
            f"{source.name}: all of it trained these heads, so none is held out; what to expect of them is in their "
            "likra.json (training.tuning.taken), as `likra tune` printed it. Name new data, or a split to judge what "
            "they have seen."
        )


def trained_by(facts: Mapping[str, Any], source: Source) -> bool:
    """Whether adapters were trained on a source, by the sketch of what they were asked.

    They were if it has nearly all that they learned from, or if they learned half of it. Otherwise a source that has
    some of the same questions is another one; `remarks` counts these.
    """
    if "asked" not in facts:  # adapters of before it was kept
        return facts.get("data") == source.name
    of_learned, of_source = shared(facts["asked"], source.items("all"))
    return of_learned >= _NEARLY_ALL or of_source > _GOOD_PART


def held_out(facts: Mapping[str, Any], source: Source, split: str | None, seed: int) -> tuple[Source, str, str]:
    """Questions that adapters were not trained on, as a split of a source.

    Args:
        facts: What the adapters were trained on.
        source: Where the questions come from.
        split: The split; default: validation. Where there is none, it is all of the source if that names no splits and
            did not train the adapters (but for what they are known to have learned of it), else what training with a
            `limit` left over.
        seed: Of the training.

    Returns:
        The source, the split, and what the split is called in public.

    Raises:
        InputError: There are no such questions.
    """
    if split is None and source.hashed:
        if not trained_by(facts, source):
            split, source = "all", _without_known(facts, source)
        else:
            _check_not_all(facts, source)
    place = split = split or "validation"
    own = source.examples or source.questions
    left = left_over(facts, source, seed) if split == "validation" and not own.get(split) else None
    if left is not None:
        place = "train, what training left over"
    if source.unpaired:  # nothing beside these is needed
        examples = cast(list[Example], left if left is not None else source.items(split))
        return replace(source, examples={"test": examples}), "test", place
    if left is not None:
        source = replace(source, questions={**source.questions, split: cast(list[Question], left)})
    return source, split, place


def _without_known(facts: Mapping[str, Any], source: Source) -> Source:
    """A source without what adapters are known to have learned of it."""
    kept = str(facts.get("asked", ""))
    questions = {name: unknown(kept, some) for name, some in source.questions.items()}
    examples = {name: unknown(kept, some) for name, some in source.examples.items()}
    found = replace(source, questions=questions, examples=examples)
    if left_out := len(source.items("all")) - len(found.items("all")):
        logger.warning("%s: %d of its records trained these heads and are left out.", source.name, left_out)
    return found


def left_over(facts: Mapping[str, Any], source: Source, seed: int) -> list[Question] | list[Example]:
    """The training questions, or examples, of a source that ask nothing that training with a `limit` drew.

    Raises:
        InputError: The adapters were trained on all of them, or on another source.
    """
    some: list[Question] | list[Example]
    left: list[Question] | list[Example]
    if source.unpaired:
        examples = source.examples.get("train", [])
        some = drawn_examples(examples, [*facts.get("examples", {})], facts.get("limit"), seed)
        learned = {example.asked for example in some}
        left = [example for example in examples if example.asked not in learned]
    else:
        questions = source.questions.get("train", [])
        some = drawn(questions, facts.get("limit"), seed)
        learned = {question.asked for question in some}
        left = [question for question in questions if question.asked not in learned]
    same = sketch(some) == facts["asked"] if "asked" in facts else facts.get("data") == source.name
    if same and not left:
        test = source.examples.get("test") or source.questions.get("test")
        other = f", or --split test, which is held out ({len(test)} records)" if test else ""
        raise InputError(f"{source.name}: its training records trained these heads; give new records{other}.")
    if not same:
        raise InputError(
            f"{source.name}: has no validation split, and is not the source of which these heads saw a part; give "
            "a split, best not the one that is judged on (all, if none of it trained the heads)."
        )
    return left


def answers(
    facts: Mapping[str, Any], data: Source | Sequence[Question], judged: Sequence[Question], seed: int
) -> Answers:
    """The answers that the shallow control learns from, where adapters are evaluated with controls.

    They are those that the adapters learned from, where the source is known to be that of their training; else all
    answers of its training split, but for the questions that are judged.

    Args:
        facts: What the adapters were trained on.
        data: What they are evaluated on.
        judged: The questions of it that are judged.
        seed: Of the training.
    """
    if not isinstance(data, Source):
        return Answers((), (), "a list of questions has no training answers")
    questions = data.questions.get("train", [])
    own = _own_answers(facts, questions, seed)
    if own:
        return own
    asked = {question.asked for question in judged}
    right: list[str] = []
    wrong: list[str] = []
    for question in questions:
        if question.answer is not None and question.asked not in asked:
            texts = {canonical(choice): choice for choice in question.choices}
            right.append(texts.pop(canonical(question.choices[question.answer])))
            wrong += texts.values()
    if not right or not wrong:
        return Answers((), (), f"{data.name} has no training answers apart from the questions judged")
    return Answers(
        right,
        wrong,
        f"all answers in the training split of {data.name}, which is not known to have trained these heads",
    )


def _own_answers(facts: Mapping[str, Any], questions: Sequence[Question], seed: int) -> Answers | None:
    """The answers that adapters learned from; None where these questions are not known to have them.

    Args:
        facts: What the adapters were trained on.
        questions: Training questions of a source.
        seed: Of the training.
    """
    some, kind = drawn(questions, facts.get("limit"), seed), facts.get("negatives", "incorrect")
    # Which answers `unrelated` ones were is not kept.
    if not some or facts.get("asked") != sketch(some) or kind == "unrelated":
        return None
    try:
        # As texts, however the adapters were asked: a template may score letters, or the rest of a sentence.
        wrong = [
            example.completion
            for example in negatives(some, Prompter("verbatim"), kind, seed=seed, pool=right_answers(questions))
        ]
    except InputError:  # the same questions with other choices
        return None
    right = right_answers(some)
    number = {POSITIVE: len(right), NEGATIVE: len(wrong)}
    # Unpaired data can ask the same, too.
    if any(number[adapter] != count for adapter, count in facts.get("examples", {}).items()):
        return None
    # Also where they are judged again: as the adapters are.
    return Answers(right, wrong, "the answers to the questions that trained these heads")
