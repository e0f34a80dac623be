"""A course: heads that learn question by question, and are looked at on the way."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.heads.training import Step, Trainer
from likra.questions.question import Example
from likra.questions.tokens import TokenPair, common_ending

#: What a head learns from each training question: its examples, most often one.
Lessons = Sequence[Sequence[TokenPair]]


def lessons(base: Base, examples: Sequence[Sequence[Example]]) -> list[list[TokenPair]]:
    """Tokens of each question's examples, in the order given."""
    return [[base.encode_pair(e.prompt, e.completion) for e in some] for some in examples]


def head_stack(base: Base, recipe: Recipe, learned: Mapping[str, Lessons], seeds: Sequence[int]) -> HeadStack:
    """Untrained heads for what is to be learned, one seed each for their first weights."""
    contexts = [pair.context for some in learned.values() for pairs in some for pair in pairs]
    return HeadStack(
        base,
        list(learned),
        rank=recipe.rank,
        alpha=recipe.alpha,
        targets=recipe.target_names,
        activation=recipe.activation,
        invocation=common_ending(base.tokenizer, contexts) if contexts else (),
        seeds=seeds,
    )


def check_sizes(sizes: Sequence[int], questions: int, recipe: Recipe) -> list[int]:
    """The sizes in rising order.

    Raises:
        InputError: One pass of training cannot give them all.
    """
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 0:
        raise InputError("--sizes: give one or more numbers of training questions, 0 or more.")
    if sizes[-1] > questions:
        raise InputError(f"--sizes {sizes[-1]}: there are only {questions} training questions.")
    odd = [size for size in sizes[:-1] if size % recipe.examples_per_step]
    if odd:
        raise InputError(
            f"--sizes {odd[0]}: every size but the last must be a multiple of {recipe.examples_per_step}, the examples "
            "of one step."
        )
    if recipe.schedule != "constant" or recipe.warmup or recipe.epochs != 1:
        raise InputError("a learning curve in one pass needs a constant learning rate, no warm-up, and one epoch.")
    return sizes


def follow(
    stack: HeadStack,
    learned: Mapping[str, Lessons],
    recipe: Recipe,
    sizes: Sequence[int],
    visit: Callable[[int], None],
    *,
    state: Path | None = None,
    memory: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> None:
    """Train every head of a stack and call `visit(size)` when all have learned from so many questions.

    At a constant learning rate a head that has seen n questions is the head that is trained on those n alone, so one
    pass gives every size. A head with several examples per question is visited at the first step that has covered them.

    Args:
        stack: The heads; see `head_stack`.
        learned: head -> its lessons, in the order in which it learns them.
        recipe: A constant learning rate, no warm-up, one epoch.
        sizes: Numbers of questions; see `check_sizes`.
        visit: Called once per size, in rising order. After a resumption it is called again for sizes that were visited
            before the state was kept, with later weights: it must know them by what it left, and do nothing.
        state: Folder in which the state of the run is kept, so that a killed run goes on from it.
        memory: Bytes that training may take beside the model.
        progress: Called with (steps done, steps in all, a note).
    """
    data = {name: [pair for pairs in some[: sizes[-1]] for pair in pairs] for name, some in learned.items()}
    data = {name: pairs for name, pairs in data.items() if pairs}
    needed = {size: {name: sum(map(len, learned[name][:size])) for name in data} for size in sizes}
    steps = max((recipe.steps(len(pairs)) for pairs in data.values()), default=0)
    if any(len({recipe.steps(count) for count in counts.values()}) > 1 for counts in needed.values()):
        raise ValueError("heads that take different numbers of steps to a size cannot share a stack")
    seen = dict.fromkeys(data, 0)
    waiting = list(sizes)

    def arrive(step: int) -> None:
        while waiting and all(seen[name] >= count for name, count in needed[waiting[0]].items()):
            progress(step, steps, f"(judging at {waiting[0]} questions)")
            visit(waiting.pop(0))
        progress(step, steps, "")

    def watch(step: Step) -> None:
        seen.update(step.examples)
        arrive(step.step)

    arrive(0)
    if steps:
        orders = dict.fromkeys(data)
        done = Trainer(stack, data, recipe, seeds=orders, checkpoints=state, memory=memory, on_step=watch).run()
        # A run that was killed after its last step, and while it was judged, has no step left to arrive at.
        for step in done:
            seen.update(step.examples)
        arrive(steps)
