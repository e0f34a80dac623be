"""DPO, direct preference optimisation: -log s(r_right - r_wrong) (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""

from typing import Any

from likra.lab.rival import rival
from likra.lab.rivals._methods import BETA
from likra.lab.rivals._trl import TrlRival, preference


@rival("dpo")
class DPO(TrlRival):
    methods = preference("dpo", "DPO", training=3)

    def trainer(self, trl: Any) -> tuple[Any, Any, dict[str, Any]]:
        return trl.DPOTrainer, trl.DPOConfig, {"beta": BETA, "loss_type": ["sigmoid"]}
