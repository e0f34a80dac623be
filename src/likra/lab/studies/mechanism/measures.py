"""The jobs of the study: what changes in the model as the negative head learns (paper, open question 1).

Four looks at the heads of one seed: the direction, rank and layers of each head's update; how far a head moves hidden
states along the direction that separates unreliable from reliable voices; that one direction put into the base in
place of the head; and the first gradient step alone, however far it is taken.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likra.data.conversation import Context
from likra.data.question import Question
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.lab.runner.heads import stack_of, train_pair
from likra.lab.runner.jobs import Note
from likra.lab.runner.learning import ByQuestion
from likra.lab.runner.snapshots import heads_path, load_heads
from likra.lab.runner.task import NEGATIVE, Task, config_of
from likra.lab.studies.mechanism.findings import FINDINGS
from likra.lab.studies.mechanism.geometry import geometry
from likra.lab.studies.mechanism.hidden import block_outputs, steered
from likra.models.stack import HeadStack, HeadWeights
from likra.scoring.accuracy import credit
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import ratio
from likra.training.config import TrainingConfig
from likra.training.seeds import adapter_seed
from likra.training.trainer import Trainer
from likra.utils.files import write_json

PROBED = 120  # questions whose hidden states are looked at
#: Of the transplanted direction, in distances from the reliable to the unreliable voice.
STRENGTHS = (0.5, 1.0, 2.0, 4.0)
STEP_EXAMPLES = (8,)  # examples in the one gradient step; and all that there are
STEP_LENGTHS = (1, 4, 16, 64)  # how many times as far as Adam goes it is taken
_ROWS = 32  # prompts read at once


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train the two heads of one seed, keep them at every size, and look at them."""
    task, config, [seed] = Task.of(settings), config_of(settings), settings["seeds"]
    sizes: list[int] = settings["sizes"]
    voices: dict[str, list[str]] = settings["voices"]
    learned, stack = stack_of(settings, folder)
    try:
        train_pair(settings, learned, stack, folder, note)
        note(0, 3, "(hidden states)")
        heads = {size: load_heads(heads_path(folder, size)) for size in sizes}
        found: dict[str, Any] = {"geometry": geometry(heads, stack.scaling(NEGATIVE))}
        probe = _Probe(task, voices)
        found["axis"] = probe.positions(stack, heads)
        note(1, 3, "(first step)")
        found["first_step"] = _first_step(task, stack, config, learned[NEGATIVE], adapter_seed(seed, True))
    finally:
        stack.remove()
    note(2, 3, "(transplants)")
    found["transplant"] = _transplant(task, probe, task.drawn(sizes[-1], seed))
    found["named"] = _named(task, voices)
    found["scale"] = probe.scale()
    write_json(folder / FINDINGS, found)
    note(3, 3, "")


# --- Hidden states along the axis of the voices ------------------------------


class _Probe:
    """Hidden states where the answer is predicted: after the prompt's last token, out of every block.

    Attributes:
        axis_LD: Mean difference between prompts opened in an unreliable and in a reliable voice, of the plain base.
    """

    def __init__(self, task: Task, voices: dict[str, list[str]]) -> None:
        self.base = task.base()
        prompter = task.training_prompter
        # Training questions: the axis must not have seen what is judged.
        asked = task.drawn(min(PROBED, len(task.source.questions["train"])), 0)
        prompts = [prompter.pairs(question)[0][0] for question in asked]
        opened = {
            side: np.mean([self._states([_after(text, prompt) for prompt in prompts]) for text in texts], axis=0)
            for side, texts in voices.items()
        }
        self._reliable_QLD = opened["reliable"]
        self.axis_LD = (opened["unreliable"] - opened["reliable"]).mean(axis=0)
        self._noise_LD = np.random.default_rng(0).standard_normal(self.axis_LD.shape)
        self._prompts = prompts

    def scale(self) -> list[float]:
        """Length of the axis in each block, in units of the hidden states' own length."""
        lengths_L = np.linalg.norm(self._reliable_QLD, axis=-1).mean(axis=0)
        return [float(value) for value in np.linalg.norm(self.axis_LD, axis=-1) / lengths_L]

    def positions(self, stack: HeadStack, heads: dict[int, dict[str, HeadWeights]]) -> list[dict[str, Any]]:
        """Where hidden states of bare prompts lie on the axis (0: the reliable voice, 1: the unreliable), per head.

        Also the cosine between a head's mean shift and the axis, and between the shift and a random direction.
        """
        base_QLD = self._states(self._prompts)
        result = [{"size": size, "head": BASE, **self._position(base_QLD)} for size in heads]
        for size, at in heads.items():
            for name, weights in at.items():
                rank = next(iter(weights.values()))[0].shape[0]
                stack.set_weights(name, weights, rank=rank, scaling=stack.scaling(name))
                states_QLD = self._states(self._prompts, stack, name)
                shift_LD = (states_QLD - base_QLD).mean(axis=0)
                found = {"size": size, "head": name, **self._position(states_QLD)}
                if np.abs(shift_LD).max() > 0:
                    found["alignment"] = _cosines(shift_LD, self.axis_LD)
                    found["chance"] = _cosines(shift_LD, self._noise_LD)
                result.append(found)
        return result

    def _position(self, states_QLD: Floats) -> dict[str, Any]:
        along_QL = ((states_QLD - self._reliable_QLD) * self.axis_LD).sum(-1) / (self.axis_LD**2).sum(-1)
        return {"position": along_QL.mean(axis=0).tolist()}

    def _states(self, prompts: Sequence[Context], stack: HeadStack | None = None, head: str = BASE) -> Floats:
        """[Q, L, D] hidden states out of each block, at each prompt's last token."""
        pairs = [self.base.encode_pair(prompt, " a") for prompt in prompts]
        found = []
        for start in range(0, len(pairs), _ROWS):
            some = [TokenizedExample(pair.context, pair.context[:1]) for pair in pairs[start : start + _ROWS]]
            outputs = block_outputs(self.base, some, stack, head)
            found.append(np.stack([states_RTD[:, -1].cpu().double().numpy() for states_RTD in outputs], axis=1))
        return np.concatenate(found)


def _cosines(one_LD: Floats, other_LD: Floats) -> list[float]:
    norms_L = np.linalg.norm(one_LD, axis=-1) * np.linalg.norm(other_LD, axis=-1)
    return [float(value) for value in (one_LD * other_LD).sum(-1) / norms_L]


# --- What can stand in for the head ------------------------------


def _credit(base_table: Likelihoods, other_QC: Floats) -> list[float]:
    """Credit of each question if the base is held against some other reading of the answers."""
    return _credits(base_table, ratio(base_table.head(BASE), other_QC))


def _credits(table: Likelihoods, scores_QC: Floats) -> list[float]:
    credits: list[float] = credit(table.once(scores_QC), table.answers_Q).tolist()
    return credits


def _transplant(task: Task, probe: _Probe, trained: Sequence[Question]) -> dict[str, Any]:
    """One direction in one block of the base, in place of the negative head.

    Block and strength are chosen on training questions; what is reported is on the test questions, where a random
    direction of the same length stands beside it.
    """
    base = task.base()
    # Their choices are known in training: all wrong ones stand in the data.
    chosen_on = list(trained[:PROBED])
    plain = score(base, None, chosen_on, task.training_prompter, memory=task.memory)
    tried: list[dict[str, Any]] = []
    for block in range(len(probe.axis_LD)):
        for strength in STRENGTHS:
            with steered(base, block, strength * probe.axis_LD[block]):
                other = score(base, None, chosen_on, task.training_prompter, memory=task.memory).head(BASE)
            tried.append({"block": block, "strength": strength, "accuracy": float(np.mean(_credit(plain, other)))})
    best = max(tried, key=lambda one: one["accuracy"])
    test, prompter = task.test(), task.test_prompter
    plain = score(base, None, test, prompter, memory=task.memory)
    axis_D = probe.axis_LD[best["block"]]
    noise_D = np.random.default_rng(0).standard_normal(axis_D.shape)
    directions = {"axis": axis_D, "random": noise_D * np.linalg.norm(axis_D) / np.linalg.norm(noise_D)}
    credits = {}
    for name, direction_D in directions.items():
        with steered(base, best["block"], best["strength"] * direction_D):
            credits[name] = _credit(plain, score(base, None, test, prompter, memory=task.memory).head(BASE))
    return {"tried": tried, "best": best, "credits": credits}


def _named(task: Task, voices: dict[str, list[str]]) -> dict[str, list[float]]:
    """The base against itself after the name of an unreliable source: the effect of a head that
    only switched voices.

    `reliable_against_unreliable`: the base after a reliable name against the base after an unreliable one.
    """
    base, test, prompter = task.base(), task.test(), task.test_prompter
    plain = score(base, None, test, prompter, memory=task.memory)
    heard: dict[str, Floats] = {}
    for side, texts in voices.items():
        tables = [_opened(task, text, test, prompter) for text in texts]
        heard[side] = np.mean(tables, axis=0)
    return {
        "base_against_unreliable": _credit(plain, heard["unreliable"]),
        "reliable_against_unreliable": _credits(plain, ratio(heard["reliable"], heard["unreliable"])),
        "reliable": _credits(plain, heard["reliable"]),
    }


def _after(text: str, context: Context) -> Context:
    """A prompt that opens with some text.

    Raises:
        InputError: It is a conversation, which a chat template opens.
    """
    if not isinstance(context, str):
        raise InputError("style must be one whose prompts are text in the study mechanism, which opens them with text.")
    return text + context


def _opened(task: Task, text: str, test: Sequence[Question], prompter: Prompter) -> Floats:
    """[Q, C] log-likelihoods of the base where every prompt opens with some text."""

    @dataclasses.dataclass(frozen=True)
    class Opened(Prompter):
        def pairs(self, question: Question) -> list[tuple[Context, str]]:
            return [(_after(text, context), completion) for context, completion in super().pairs(question)]

    opened = Opened(prompter.style, prompter.shots, prompter.pool, prompter.sampled)
    return score(task.base(), None, test, opened, memory=task.memory).head(BASE)


def _first_step(
    task: Task, stack: HeadStack, config: TrainingConfig, learned: ByQuestion, seed: int
) -> list[dict[str, Any]]:
    """One step of Adam on n wrong answers, taken 1 to 64 times as far, against the base.

    A head's first step changes only B, so that going k times as far is k times the update.
    """
    pairs = [pair for some in learned for pair in some]
    result = []
    plain = score(task.base(), None, task.test(), task.test_prompter, memory=task.memory)
    for count in sorted({min(count, len(pairs)) for count in (*STEP_EXAMPLES, len(pairs))}):
        generator = torch.Generator().manual_seed(seed)  # the head's own first weights
        for layer in stack.layers.values():
            layer.reset(stack.index(NEGATIVE), generator)
        # One step over all of them, in passes of the configured size.
        passes = -(-count // config.per_device_train_batch_size)
        once = dataclasses.replace(config, gradient_accumulation_steps=passes, num_train_epochs=1)
        Trainer(stack, {NEGATIVE: pairs[:count]}, once, seeds={NEGATIVE: None}, memory=task.memory).run()
        weights = {path: (a.clone(), b.clone()) for path, (a, b) in stack.weights(NEGATIVE).items()}
        scaling = stack.scaling(NEGATIVE)
        for times in STEP_LENGTHS:
            stack.set_weights(NEGATIVE, weights, rank=config.lora.r, scaling=times * scaling)
            other = score(task.base(), stack, task.test(), task.test_prompter, (NEGATIVE,), memory=task.memory)
            credits = _credit(plain, other.head(NEGATIVE))
            result.append({"examples": count, "times": times, "credits": credits})
        stack.set_weights(NEGATIVE, weights, rank=config.lora.r, scaling=scaling)
    return result
