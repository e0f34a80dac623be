"""Merged weights: the difference of the two adapters' updates as one adapter, read once."""

from pathlib import Path
from typing import Any

from likra.lab.rival import Method, Rival, rival
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of, table_path
from likra.scoring.likelihoods import Floats, Likelihoods

#: Weights of the negative update.
WEIGHTS = (0.5, 1.0)
_NAMES = {f"merged-{weight:g}": weight for weight in WEIGHTS}


@rival("merged")
class Merged(Rival):
    methods = tuple(
        Method(name, f"Merged weights, w={weight:g}", training=2, answers="both") for name, weight in _NAMES.items()
    )
    job = "pair"  # it needs the weights of Likra's adapters

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Keep the tables of the merged adapters."""
        from likra.engine.loglikelihood import score
        from likra.lab.runner.heads import stack_of
        from likra.lab.runner.snapshots import heads_path, load_heads
        from likra.models.merging import merged

        task, rank = Task.of(settings), 2 * config_of(settings).lora.r
        _, pair = stack_of(settings, folder)
        scaling = pair.scaling(POSITIVE)
        stack = pair.rebuilt(list(_NAMES), rank)
        try:
            for size in settings["sizes"]:
                path = table_path(folder, "merged", size)
                if path.exists():
                    continue
                heads = load_heads(heads_path(folder, size))
                for name, weight in _NAMES.items():
                    weights = merged([(1.0, heads[POSITIVE]), (-weight, heads[NEGATIVE])])
                    stack.set_weights(name, weights, rank=rank, scaling=scaling)
                score(task.base(), stack, task.test(), task.test_prompter, list(_NAMES), memory=task.memory).save(path)
        finally:
            stack.remove()

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        table = Likelihoods.load(table_path(folder, "merged", size))
        return {name: table.head(name) for name in _NAMES}
