"""What must be known of adapters' training by whoever evaluates or calibrates them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from likra.data.overlap import overlaps, sketch
from likra.data.question import Question
from likra.data.sources import Source
from likra.errors import InputError
from likra.training.dataset import drawn


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
        seen = overlaps(facts["asked"], source.split(split)[:limit])
    else:  # adapters of before it was kept
        seen = (split or source.default_split) in ("train", "all") and facts.get("data") == source.name
    if seen:
        found.append("these heads were trained on some of the questions judged here")
    return found


def held_out(facts: Mapping[str, Any], source: Source, split: str | None, seed: int) -> tuple[Source, str, str]:
    """Questions that adapters were not trained on, as a split of a source.

    Args:
        facts: What the adapters were trained on.
        source: Where the questions come from.
        split: The split; default: validation. Where there is none, it is what training with a `limit` left over.
        seed: Of the training.

    Returns:
        The source, the split, and what the split is called in public.

    Raises:
        InputError: There are no such questions.
    """
    place = split = split or "validation"
    if split == "validation" and not source.questions.get(split) and not source.unpaired:
        source = replace(source, questions={**source.questions, split: left_over(facts, source, seed)})
        place = "train, what training left over"
    return source, split, place


def left_over(facts: Mapping[str, Any], source: Source, seed: int) -> list[Question]:
    """The training questions of a source that ask nothing that training with a `limit` drew.

    Raises:
        InputError: The adapters were trained on all of them, or on another source.
    """
    questions = source.questions.get("train", [])
    some = drawn(questions, facts.get("limit"), seed)
    asked = {question.asked for question in some}
    left = [question for question in questions if question.asked not in asked]
    same = sketch(some) == facts["asked"] if "asked" in facts else facts.get("data") == source.name
    if not left or not same:
        raise InputError(
            f"{source.name}: has no validation split, and is not the source of which these heads saw a part; give "
            "a split, best not the one that is judged on (all, if none of it trained the heads)."
        )
    return left
