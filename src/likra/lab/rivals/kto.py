"""KTO, Kahneman-Tversky optimisation, on right and wrong answers apart: 1 - s(r_right - z) or 1 - s(z - r_wrong).

z is beta times the batch's KL term (Ethayarajh et al. 2024, arXiv 2402.01306, section 4).
"""

from collections.abc import Sequence
from typing import Any

from likra.lab.rival import rival
from likra.lab.rivals._methods import BETA, Encoded
from likra.lab.rivals._trl import TrlRival, preference


@rival("kto")
class KTO(TrlRival):
    methods = preference("kto", "KTO", training=5)  # it reads a second completion with both models, for the KL term
    rows_per_triple = 2

    def trainer(self, trl: Any) -> tuple[Any, Any, dict[str, Any]]:
        return trl.KTOTrainer, trl.KTOConfig, {"beta": BETA, "loss_type": "kto"}

    def rows(self, encoded: Sequence[Encoded], batch: int) -> list[dict[str, Any]]:
        """In each step all right answers come before all wrong ones.

        The completions that TRL exchanges between neighbours for the KL term then come from other prompts, where a step
        has any.
        """
        rows = []
        for start in range(0, len(encoded), batch):
            some = encoded[start : start + batch]
            step = [{"prompt_ids": prompt, "completion_ids": right, "label": True} for prompt, right, _ in some]
            step += [{"prompt_ids": prompt, "completion_ids": wrong, "label": False} for prompt, _, wrong in some]
            # As TRL's own preparation does: z is estimated on each prompt with the completion of the row before it.
            for place, row in enumerate(step):
                row["KL_completion_ids"] = step[place - 1]["completion_ids"]
            rows += step
        return rows
