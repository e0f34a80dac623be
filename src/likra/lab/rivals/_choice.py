"""What the rivals have in common that learn to choose: the same candidates for all adapters, one loss over them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.lab.rival import Rival
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of, table_path
from likra.training.seeds import adapter_seed

if TYPE_CHECKING:
    from likra.training.losses import Choice


class ChoiceRival(Rival):
    """A rival that is trained by `likra.training.losses.Choice`.

    It learns from the answers that Likra's two adapters learn from: of each question the right one, and the wrong one
    that was drawn. A batch is of as many questions as one of Likra's.
    """

    def loss(self, settings: dict[str, Any]) -> "Choice":
        """The loss, with the names of its adapters."""
        raise NotImplementedError

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        from likra.data.tokens import TokenizedQuestion
        from likra.engine.loglikelihood import score
        from likra.lab.runner.learning import tokenized, train_to_sizes
        from likra.training.fit import untrained

        task, config, [seed] = Task.of(settings), config_of(settings), settings["seeds"]
        base, questions, loss = task.base(), task.drawn(settings["sizes"][-1], seed), self.loss(settings)
        right, wrong = (tokenized(base, task.examples(head, questions, seed, folder)) for head in (POSITIVE, NEGATIVE))
        learned = [[TokenizedQuestion((good, bad))] for [good], [bad] in zip(right, wrong, strict=True)]
        seeds = [adapter_seed(seed, negative) for negative in (False, True)][: len(loss.adapters)]
        read = [pair for [asked] in learned for pair in asked.candidates]
        stack = untrained(base, dict.fromkeys(loss.adapters, read), config, seeds)

        def at_size(size: int) -> None:
            path = table_path(folder, self.name, size)
            if not path.exists():
                meta = {"weight": loss.weight}
                how: dict[str, Any] = {"memory": task.memory, "meta": meta}
                score(base, stack, task.test(), task.test_prompter, loss.adapters, **how).save(path)

        try:
            how: dict[str, Any] = {"state": folder / "state", "memory": task.memory, "progress": note}
            train_to_sizes(stack, {self.name: learned}, config, settings["sizes"], at_size, {self.name: loss}, **how)
        finally:
            stack.remove()
