"""What the rivals have in common that TRL's trainers train, on likra's own tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.lab.rival import Method, Rival
from likra.lab.rivals._methods import Training, check_trl
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, config_of, table_path
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import ratio
from likra.utils.files import write_json

if TYPE_CHECKING:
    from likra.lab.rivals._training import Trained


class TrlRival(Training, Rival):
    """A rival that one of TRL's trainers trains."""

    def check(self, task: Task) -> None:
        check_trl()

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Train on the right and wrong answers of one seed, in Likra's order, and keep a table per size."""
        from likra.lab.rivals._training import Triple, train_rival
        from likra.training.seeds import adapter_seed

        task, sizes, [seed] = Task.of(settings), settings["sizes"], settings["seeds"]
        questions = task.drawn(sizes[-1], seed)
        right, wrong = (task.examples(head, questions, seed, folder) for head in (POSITIVE, NEGATIVE))
        triples = [
            Triple(good.prompt, good.completion, bad.completion) for [good], [bad] in zip(right, wrong, strict=True)
        ]
        losses = train_rival(
            self,
            task.base(),
            triples,
            sizes,
            config_of(settings),
            seed=adapter_seed(seed, negative=False),
            folder=folder / "state",
            visit=lambda size, trained: self.read(task, trained).save(table_path(folder, "own", size)),
            progress=note,
        )
        write_json(folder / "losses.json", losses)

    def read(self, task: Task, trained: "Trained") -> Likelihoods:
        """The policy's likelihoods of the test answers, read by likra's own engine."""
        from likra.engine.loglikelihood import score
        from likra.models.lora_config import lora_config
        from likra.models.stack import HeadStack

        base = task.base()
        stack = HeadStack(base, [self.name], lora=lora_config(r=trained.rank, target_modules=list(trained.weights)))
        try:
            stack.set_weights(self.name, trained.weights, rank=trained.rank, scaling=trained.scaling)
            return score(base, stack, task.test(), task.test_prompter, (self.name,), memory=task.memory)
        finally:
            stack.remove()

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        policy = Likelihoods.load(table_path(folder, "own", size)).head(self.name)
        # What the trainer calls the implicit reward, up to its factor beta.
        return {self.name: policy, f"{self.name}_reward": ratio(policy, pair.head(BASE))}


def preference(name: str, title: str, training: int) -> tuple[Method, Method]:
    """The two methods of a trainer of preferences: by the policy's likelihood, and by its implicit reward.

    Training reads each answer with the policy and with the reference.
    """
    return (
        Method(name, f"{title}, likelihood", training, "both"),
        Method(f"{name}_reward", f"{title}, implicit reward", training, "both", readings=2),
    )
