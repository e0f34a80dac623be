"""Corrections: trained heads learn more, and what that gained and lost is measured on records they never learned."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from likra.data.few_shot import Data, loaded
from likra.data.overlap import merged, sketch
from likra.data.records import by_kind
from likra.likra import Likra
from likra.models.thread_lock import alone
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.recalibration import recalibrated
from likra.scoring.teaching import Compared, Teaching
from likra.training.checkpoint import claim
from likra.training.corrections import Corrections, asked_in, folded, recipe_of
from likra.training.fit import Run
from likra.training.step import Step
from likra.training.teaching import Heads, Repetition, with_copies
from likra.utils.runtime import Runtime


@alone(lambda likra, *_, **__: likra.base.model)
def teach(
    likra: Likra,
    data: Data,
    *,
    old: Data | None = None,
    replay: int | None = None,
    folds: int = 5,
    learning_rate: float | None = None,
    num_train_epochs: int | None = None,
    run: Run | None = None,
) -> Teaching:
    """Let trained heads learn corrections too, and find out what is gained on these and lost on old records.

    The heads go on from their weights, by the recipe that trained them. What is gained is seen by cross-validation: of
    each fold of the corrections the heads judge it that learned the others. What is lost is seen on old records that
    they have never learned, of which `old` gives some, or those that were held out are kept (`fit(keep_data=True)`).
    Where these are fewer than 100, the old training is repeated without each fold of the old records. Calibrations are
    fitted anew to the records that were judged, or dropped.

    Args:
        likra: The heads; they are the taught ones afterwards. If it fails, they stay as they were.
        data: The corrections, as `Likra.fit` takes data (of data that names no splits all records are used, else not
            its test split), worded in the heads' own template.
        old: Old records to judge by, which the heads have not learned.
        replay: How many old records to learn again, once each; default: as many as there are corrections, if so many
            are kept.
        folds: How many folds.
        learning_rate, num_train_epochs: How the corrections are learned; default: as the first records were.
        run: Where the run keeps its state, so that a killed one goes on from it, and what it may take.

    Returns:
        What was found. `Teaching.worse` says on what the heads are now worse beyond the interval.

    Raises:
        InputError: These heads cannot be taught, or not with such data.

    Example:
        >>> from likra.utils.runtime import QUIET
        >>> likra = Likra.from_base("world-tiny").fit("world", limit=8, keep_data=True, runtime=QUIET)
        >>> corrections = [{"question": f"Which of {n} and {n + 1} is odd?", "choices": [str(n), str(n + 1)],
        ...     "answer": str(n + 1 - n % 2)} for n in range(6)]
        >>> found = teach(likra, corrections, folds=2, run=Run(runtime=QUIET))
        >>> found.gained.records, found.replayed, found.lost[0].records
        (6, 6, 240)
    """
    run, config = run or Run(runtime=Runtime()), likra.training_config
    plan = Corrections.of(
        loaded(data, likra.training),
        likra.style,
        likra.training,
        likra.records,
        config=config,
        recipe=recipe_of(config, learning_rate, num_train_epochs),
        replay=replay,
        old=None if old is None else loaded(old, likra.training),
        folds=folds,
    )
    negatives = likra.training.get("negatives", "incorrect")
    heads = Heads(likra.base, likra.heads, config, likra.style, negatives, likra.weight, run)
    lesson, roles = plan.lessons[-1], {adapter: adapter for adapter in likra.heads}
    learned = heads.learned(lesson, roles)
    for fold in range(folds):
        learned |= heads.learned(lesson, heads.of_fold(fold), asked_in(plan.fold_of, fold))
    again = None
    if plan.learned:
        again = Repetition(heads, plan.lessons, plan.learned, folded(plan.learned, folds, config.seed))
    repeated = again.learned() if again else []
    before = likra.trained
    if run.state:
        own = [before.digest(adapter) for adapter in likra.heads]
        claim(run.state, f"{likra.base.fingerprint} {own} {config.as_dict()} {lesson.recipe} {learned} {repeated}")
    layers, stack = dict(before.layers), before
    try:
        old_ones: list[Compared] = []
        if again:
            before.remove()
            old_ones = again.run(before, repeated)
            before.attach(layers)
        copies = [heads.before, *(heads.of_fold(fold) for fold in range(folds))]
        stack = with_copies(before, {name: role for some in copies for name, role in some.items()})
        steps = heads.learn(stack, learned, lesson, "taught", "Teaching")
        new = heads.compared(stack, plan.items, lambda fold: [*heads.before, *heads.of_fold(fold)], plan.fold_of)
        for some in by_kind(plan.never_learned):
            if some:
                old_ones.append(heads.compared(stack, some, lambda fold: [*heads.before, *likra.heads], {}))
        calibrations, told = _recalibrated(likra, [new, *old_ones], plan.name)
        found = Teaching(
            lesson.recipe,
            folds,
            new.change,
            tuple(one.change for one in old_ones),
            fresh=not plan.learned,
            why_not=plan.why_not,
            replayed=len(lesson.replayed),
            kept=len(plan.kept),
            known=plan.known,
            calibration=told,
        )
        facts = _facts(likra.training, plan, heads.learned(replace(lesson, replayed=()), roles), found)
        stack = stack.rebuilt(likra.heads, 1)
    except BaseException:
        stack.remove()
        before.attach(layers)
        raise
    likra.stack, likra.losses, likra.training, likra.records = stack, _of(steps, likra.heads), facts, plan.records
    likra.calibration, likra.lone_calibration = calibrations
    likra.evaluations, likra.revision = [], None
    return found


def _of(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """Some heads' steps."""

    def own(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name in names}

    found = [Step(step.step, own(step.losses), own(step.rates), own(step.examples)) for step in steps]
    return [step for step in found if step.losses]


def _recalibrated(
    likra: Likra, compared: Sequence[Compared], data: str | None
) -> tuple[tuple[CalibrationRecord | None, CalibrationRecord | None], tuple[str, ...]]:
    """The calibrations that take the place of a Likra's two, and what became of them."""
    about: dict[str, Any] = {"style": likra.style, "data": data}
    own, told = recalibrated(likra.calibration, compared, lone=False, **about)
    lone, of_lone = recalibrated(likra.lone_calibration, compared, lone=True, **about)
    return (own, lone), tuple(filter(None, (told, of_lone)))


def _facts(facts: dict[str, Any], plan: Corrections, learned: dict[str, Any], found: Teaching) -> dict[str, Any]:
    """What is kept of the training of heads that were taught; what `likra tune` found is of the heads before."""
    more = {
        "examples": {role: len(pairs) for role, pairs in learned.items()},
        "prompts_cut": {role: sum(pair.cut > 0 for pair in pairs) for role, pairs in learned.items()},
    }
    summed = {
        name: {role: facts.get(name, {}).get(role, 0) + of.get(role, 0) for role in {**facts.get(name, {}), **of}}
        for name, of in more.items()
    }
    asked = merged(facts.get("asked", ""), sketch(plan.items))
    teaching = [*facts.get("teaching", ()), {"data": plan.name, **found.as_json()}]
    kept = {name: value for name, value in facts.items() if name != "tuning"}
    return kept | summed | {"asked": asked, "teaching": teaching}
