"""A negative head that learns the same wrong answers as the ordinary one, without their questions."""

from pathlib import Path

from likra.data.controls import BLIND, control
from likra.data.negatives import negatives
from likra.lab.runner.learning import head_stack, tokenized, train_to_sizes
from likra.lab.runner.task import NEGATIVE, Task
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from likra.training.seeds import adapter_seed


def blind_head(
    task: Task,
    config: TrainingConfig,
    size: int,
    seed: int,
    state: Path,
) -> HeadStack:
    """A stack of one trained head, called `blind`, from the first weights of the ordinary negative head.

    Args:
        task: The task; its prompts must have a question that can be removed.
        config: How it is trained.
        size: Training questions; the first ones of the seed, in the ordinary head's order.
        seed: The seed.
        state: Folder for the state of the run.
    """
    questions = task.drawn(size, seed)
    prompter = control(BLIND, questions, task.training_prompter)
    learned = {BLIND: tokenized(task.base(), [[one] for one in negatives(questions, prompter, NEGATIVE, seed=seed)])}
    stack = head_stack(task.base(), config, learned, [adapter_seed(seed, True)])
    try:
        train_to_sizes(stack, learned, config, [size], lambda size: None, state=state, memory=task.memory)
    except BaseException:  # the model is kept for the next job
        stack.remove()
        raise
    return stack
