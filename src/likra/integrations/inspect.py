"""Heads in inspect_ai (0.3.250 or later): as a scorer of what a model wrote, and as a solver of multiple choice.

inspect_ai finds this module by its entry point, so importing it loads no torch.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

from anyio import to_thread
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from likra.errors import InputError
from likra.scoring.config import Scoring

if TYPE_CHECKING:
    from likra.likra import Likra
    from likra.scoring.candidates import Candidate


@scorer(metrics=[mean(), stderr()])
def likra_scorer(
    heads: Union[str, "Likra"], threshold: float | None = None, weight: float | None = None, **loading: Any
) -> Scorer:
    """Judges what a model wrote (`state.output.completion`) as an answer to the sample's input.

    The value is the probability that the completion is right, where the heads are calibrated on unpaired records
    (`likra calibrate`), and L+ - w * L- in nats where they are not. With a threshold it is CORRECT or INCORRECT, whose
    mean is the accuracy. Both, and the log-likelihoods, are in the score's metadata. A completion that is empty has no
    answer, and one that the heads cannot read (it overruns their context) is not scored.

    Args:
        heads: What `likra train` wrote (a folder, or `owner/name` on the hub), or a Likra in memory.
        threshold: The probability from which a completion is CORRECT.
        weight: w of L-; default: the heads' own.
        **loading: As `Likra.from_pretrained` takes it (model, revision, dtype, device, ...).

    Raises:
        InputError: The heads cannot be loaded; or there is a threshold, and no probability to hold against it.
    """
    likra, scoring = _loaded(heads, loading), Scoring(weight=weight)
    if threshold is not None and not likra.probable(scoring, lone=True):
        raise InputError(
            "threshold: these heads give no probability that a lone completion is right at this weight; calibrate them "
            "on records of prompt, completion and label (`likra calibrate`)."
        )

    async def score(state: TaskState, target: Target) -> Score:
        completion = state.output.completion
        if not completion.strip():
            nothing = {"answer": completion, "reason": "no_response"}
            return Score.unscored(**nothing) if threshold is None else Score(value=NOANSWER, **nothing)
        try:
            [found] = await _candidates(likra, state.input_text, [completion], scoring)
        except InputError as error:
            return Score.unscored(reason="scoring_failed", answer=completion, explanation=str(error))
        value = found.score if found.probability is None else found.probability
        if threshold is not None:
            value = CORRECT if value >= threshold else INCORRECT
        return Score(value=value, answer=completion, metadata=_numbers(found))

    return score


@solver
def likra_solver(heads: Union[str, "Likra"], weight: float | None = None, **loading: Any) -> Solver:
    """Answers a sample that has choices by the choice that scores highest, in the place of `multiple_choice()`.

    No model is called. inspect_ai's own scorer `choice()` marks the answer, with accuracy and standard error. The
    choices' scores are in the sample's store, as `likra`. Of equal scores the first choice is taken.

    Args:
        heads, weight, **loading: As in `likra_scorer`.
    """
    likra, scoring = _loaded(heads, loading), Scoring(weight=weight)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        choices = [choice.value for choice in state.choices]
        if not choices:
            raise InputError(f"sample {state.sample_id}: has no choices, of which likra_solver takes one.")
        found = await _candidates(likra, state.input_text, choices, scoring)
        best = max(range(len(found)), key=lambda place: found[place].score)
        for place in range(len(found)):
            state.choices.mark_choice(place, place == best)
        state.output = ModelOutput.from_content("likra", choices[best])
        state.messages.append(state.output.message)
        state.store.set("likra", [{"text": one.text, **_numbers(one)} for one in found])
        return state

    return solve


async def _candidates(likra: "Likra", question: str, choices: Sequence[str], scoring: Scoring) -> "list[Candidate]":
    """What `Likra.score` gives, in a thread: samples are handled at the same time, and the model by one of them."""
    return await to_thread.run_sync(functools.partial(likra.score, question, choices, scoring=scoring))


def _numbers(candidate: "Candidate") -> dict[str, float | None]:
    names = ("score", "probability", "positive", "negative", "base")
    return {name: value for name, value in dataclasses.asdict(candidate).items() if name in names}


def _loaded(heads: Union[str, "Likra"], loading: dict[str, Any]) -> "Likra":
    from likra.likra import Likra

    return heads if isinstance(heads, Likra) else _load(str(heads), **loading)


@functools.cache  # a task may name the same heads twice
def _load(heads: str, **loading: Any) -> "Likra":
    from likra.likra import Likra

    # The fastest precision would be measured for each sample again.
    return Likra.from_pretrained(heads, **{"precision": "faithful", **loading})
