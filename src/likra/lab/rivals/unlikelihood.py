"""Unlikelihood: one adapter that learns right answers as likely and wrong ones as unlikely (arXiv 1908.04319)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.lab.rival import Method, Rival, rival
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of, table_path
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.training.seeds import adapter_seed

if TYPE_CHECKING:
    from likra.lab.runner.learning import ByQuestion

_ADAPTER = "unlikely"


@rival("unlikelihood")
class Unlikelihood(Rival):
    methods = (Method("unlikelihood", "Unlikelihood", training=2, answers="both"),)

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Train the adapter; it learns from two answers of each question, and so takes twice the steps of SFT."""
        from likra.engine.loglikelihood import score
        from likra.lab.runner.learning import head_stack, tokenized, train_to_sizes
        from likra.training import losses

        task, config, [seed] = Task.of(settings), config_of(settings), settings["seeds"]
        base, questions = task.base(), task.drawn(settings["sizes"][-1], seed)
        right, wrong = (tokenized(base, task.examples(head, questions, seed, folder)) for head in (POSITIVE, NEGATIVE))
        learned = {_ADAPTER: right_and_wrong(right, wrong)}
        stack = head_stack(base, config, learned, [adapter_seed(seed, negative=False)])

        def at_size(size: int) -> None:
            path = table_path(folder, _ADAPTER, size)
            if not path.exists():
                score(base, stack, task.test(), task.test_prompter, (_ADAPTER,), memory=task.memory).save(path)

        try:
            sizes, state = settings["sizes"], folder / "state"
            how: dict[str, Any] = {"state": state, "memory": task.memory, "progress": note}
            loss = losses.Unlikelihood(whole_text=config.loss == "text")
            train_to_sizes(stack, learned, config, sizes, at_size, {_ADAPTER: loss}, **how)
        finally:
            stack.remove()

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        return {"unlikelihood": Likelihoods.load(table_path(folder, _ADAPTER, size)).head(_ADAPTER)}


def right_and_wrong(right: "ByQuestion", wrong: "ByQuestion") -> "ByQuestion":
    """Each question's right answers, then its wrong ones, marked as wrong."""
    from likra.training.losses import Wrong

    return [[*good, *map(Wrong.of, bad)] for good, bad in zip(right, wrong, strict=True)]
