"""Heads for few records: what to train, chosen by cross-validation; then trained on everything, and calibrated."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from likra.data.few_shot import Data, loaded
from likra.data.folds import foldable
from likra.data.overlap import sketch
from likra.data.question import Question
from likra.data.sources import Source
from likra.data.unpaired import is_unpaired
from likra.errors import InputError
from likra.likra import ROLES, Likra
from likra.models.base import Base, base_of
from likra.scoring.budget import check_error_budget
from likra.scoring.calibration_error import calibrate
from likra.scoring.cross_validation import CrossValidation
from likra.scoring.tuning import NEEDS, Tuning
from likra.training.config import TrainingConfig
from likra.training.cross_validation import cross_validate
from likra.training.fit import Run
from likra.utils.runtime import Runtime

RATES, EPOCHS = (1e-3, 3e-4), (3, 1, 5)
"""What is tried; the first ones stand for all where nothing is better."""
ADAPT = "completion"
"""Where the adapters act unless asked otherwise: the base reads each prompt once, for all folds and all epochs."""


def tune(
    model: str | Base,
    data: Data,
    *,
    learning_rates: Sequence[float] = RATES,
    epochs: Sequence[int] = EPOCHS,
    folds: int = 5,
    limit: int | None = None,
    error_budget: float | None = None,
    training_config: TrainingConfig | None = None,
    keep_data: bool = False,
    run: Run | None = None,
    **loading: Any,
) -> tuple[Likra, Tuning]:
    """Find out by cross-validation which heads to train, train them on all records, and calibrate them.

    Learning rate, number of epochs, weight, and which heads there are, are chosen by the records themselves. Heads are
    calibrated by scores of heads that had not seen the record that is scored; a calibration that does not help is left
    out. The scores are not divided by a length.

    Args:
        model, **loading: As `Likra.from_base` takes them.
        data: A source (of data that names no splits all records are used, else not its test split), records in memory,
            or questions.
        learning_rates, epochs: What is tried.
        folds: How many folds.
        limit: Use only so many records, drawn by the seed.
        error_budget: Also choose what can be automated at this budget (`likra.scoring.budget.choose`).
        training_config: All else of how heads are trained; default: adapters that act on completions (`ADAPT`).
        keep_data: Keep the records with the heads, as `Likra.fit` does.
        run: Where the run keeps its state, so that a killed one goes on from it, and what it may take.

    Returns:
        The heads, trained; and what was found, with its figures.

    Raises:
        InputError: The data cannot train heads, or has fewer different questions than folds.
    """
    if error_budget is not None:
        check_error_budget(error_budget)
    run, base, source = run or Run(runtime=Runtime()), base_of(model, None, **loading), loaded(data)
    usual = training_config or TrainingConfig(adapt=ADAPT)
    config = dataclasses.replace(usual, learning_rate=learning_rates[0], num_train_epochs=epochs[0])
    if is_unpaired(source):
        raise InputError("unpaired data (prompt, completion, label) cannot be tuned; cross-validate it, and fit heads.")
    style = source.style if isinstance(source, Source) else "qa"
    folded = dataclasses.replace(run, state=run.state and run.state / "folds")
    how: dict[str, Any] = {
        "folds": folds,
        "learning_rates": learning_rates,
        "epochs": epochs,
        "style": style,
        "limit": limit,
    }
    both = ROLES["sft-likra"]
    found = cross_validate(base, both, config, source, hidden=True, run=folded, **how)
    assert isinstance(found, CrossValidation)  # the data is not unpaired
    found = dataclasses.replace(found, normalizations=("raw",))
    tuning = Tuning(found)
    setting = tuning.setting
    config = dataclasses.replace(config, **vars(setting.recipe or found.default))
    role = next(name for name, adapters in ROLES.items() if adapters == NEEDS[tuning.method])
    weight = 1.0 if setting.weight is None else setting.weight
    likra = Likra.from_base(base, role=role, training_config=config, weight=weight, style=style)
    likra.fit(
        _whole(source),
        limit=limit,
        keep_data=keep_data,
        state=run.state and run.state / "heads",
        checkpoint_every=run.checkpoint_every,
        runtime=run.runtime,
    )
    likra.training |= {"tuning": tuning.as_json()}
    record = calibrate(
        tuning.scores_QC,
        found.likelihoods.answers_Q,
        "temperature",
        weight=weight,
        normalization=setting.normalization,
        style=likra.style,
        data=likra.training["data"],
        split="out of fold",
        asked=sketch(found.likelihoods.questions),
        error_budget=error_budget,
        groups=found.groups,
    )
    if record.helps:
        if error_budget is not None:  # by confidences that the choice of the setting has not seen
            automation = tuning.automation(error_budget, record.calibration.method)
            record = dataclasses.replace(record, automation=automation)
        likra.calibration = record
    return likra, tuning


def _whole(data: Any) -> Any:
    """Data whose records are for training, in the order in which they were cross-validated; a test split stays one."""
    if not isinstance(data, Source):
        return data
    found = cast(list[Question], foldable(data))
    learned = {id(question) for question in found}
    test = [question for question in data.questions.get("test", ()) if id(question) not in learned]
    return dataclasses.replace(data, questions={"train": found, **({"test": test} if test else {})})
