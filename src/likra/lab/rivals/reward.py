"""A linear reward head on the last token, under the model of Bradley and Terry (1952).

-log s(reward_right - reward_wrong) (Rafailov et al. 2023, arXiv 2305.18290, eq. 2).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likra.lab.rival import Method, rival
from likra.lab.rivals._methods import Encoded
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
        from likra.engine.loglikelihood import encode_question

        test = task.test()
        places = [
            (row, pair)
            for row, question in enumerate(test)
            for pair in encode_question(task.base(), question, task.test_prompter)
        ]
        rewards = iter(trained.rewards([pair for _, pair in places]))
        shape = (len(test), max(len(question.choices) for question in test))
        reward_QC, tokens_QC, cut_QC = np.full(shape, np.nan), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        filled = [0] * len(test)
        for row, pair in places:
            at = row, filled[row]
            reward_QC[at], tokens_QC[at], cut_QC[at] = next(rewards), len(pair.completion), pair.cut
            filled[row] += 1
        return Likelihoods((self.name,), list(test), reward_QC[None], tokens_QC, cut_QC, {"rewards": True})

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        return {self.name: Likelihoods.load(table_path(folder, "own", size)).head(self.name)}
