"""A linear reward head on the last token, under the model of Bradley and Terry (1952).

-log s(reward_right - reward_wrong) (Rafailov et al. 2023, arXiv 2305.18290, eq. 2).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.lab.rival import Method, rival
from likra.lab.rivals._methods import Encoded
from likra.lab.rivals._reading import table_of
from likra.lab.rivals._trl import TrlRival
from likra.lab.runner.task import Task, table_path
from likra.scoring.likelihoods import Floats, Likelihoods

if TYPE_CHECKING:
    from likra.lab.rivals._training import Trained


@rival("reward")
class Reward(TrlRival):
    methods = (Method("reward", "Reward head", training=2, answers="both", normalised=False),)
    reward_head = True

    def trainer(self, trl: Any) -> tuple[Any, Any, dict[str, Any]]:
        return trl.RewardTrainer, trl.RewardConfig, {}

    def rows(self, encoded: Sequence[Encoded], batch: int) -> list[dict[str, Any]]:
        return [{"chosen_ids": prompt + right, "rejected_ids": prompt + wrong} for prompt, right, wrong in encoded]

    def read(self, task: Task, trained: "Trained") -> Likelihoods:
        """The rewards, in the place of log-likelihoods."""
        return table_of(task, self.name, trained.rewards)

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        return {self.name: Likelihoods.load(table_path(folder, "own", size)).head(self.name)}
