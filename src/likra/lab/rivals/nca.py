"""NCA, noise contrastive alignment for pairs: -log s(r_right) - (log s(-r_right) + log s(-r_wrong)) / 2.

Chen et al. 2024, arXiv 2402.05369, section 4.
"""

from typing import Any

from likra.lab.rival import rival
from likra.lab.rivals._methods import BETA
from likra.lab.rivals._trl import TrlRival, preference


@rival("nca")
class NCA(TrlRival):
    methods = preference("nca", "NCA", training=3)

    def trainer(self, trl: Any) -> tuple[Any, Any, dict[str, Any]]:
        return trl.DPOTrainer, trl.DPOConfig, {"beta": BETA, "loss_type": ["nca_pair"]}
