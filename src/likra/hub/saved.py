"""A saved folder as one value, and what is written beside the adapters."""

import copy
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from likra.data.records import Records
from likra.data.sources.loading import learned_labels
from likra.errors import InputError
from likra.hub.calibration_file import read_calibration, write_calibration
from likra.hub.evaluations_file import read_evaluations
from likra.hub.folder import check_base, read_manifest
from likra.hub.records_file import read_records, write_records
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.judge import Judge
from likra.training.config import TrainingConfig
from likra.training.step import Step
from likra.utils.files import write_json
from likra.utils.locations import EVALUATIONS, LONE_CALIBRATION, LOSSES

if TYPE_CHECKING:
    from likra.models.base import Base, Loading

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """What a saved folder holds.

    Attributes:
        folder: The folder.
        folders: adapter -> its folder.
        origin: The base that they were trained on: name, commit, identity.
        training_config, weight, style, training, losses, calibration, lone_calibration, evaluations: As `Likra`
            has them.
        adapt, invocation_tokens: Where the adapters act.
        chat_template: The chat template that they learned; None where they learned none.
    """

    folder: Path
    folders: dict[str, Path]
    origin: dict[str, Any]
    training_config: TrainingConfig
    weight: float
    style: str
    adapt: str
    invocation_tokens: tuple[int, ...]
    training: dict[str, Any]
    losses: list[Step]
    calibration: CalibrationRecord | None
    lone_calibration: CalibrationRecord | None
    evaluations: list[dict[str, Any]]
    chat_template: str | None = None

    @property
    def records(self) -> Records | None:
        """The records that the adapters learned, where they are kept."""
        return read_records(self.folder)

    @property
    def judge(self) -> Judge:
        """What makes scores of the adapters' likelihoods."""
        labels = learned_labels(self.training)
        calibrations = self.calibration, self.lone_calibration
        return Judge(tuple(self.folders), self.weight, self.style, *calibrations, labels)

    def load_base(
        self, model: "str | Base | None", revision: str | None, token: str | None = None, **loading: "Unpack[Loading]"
    ) -> "Base":
        """The base that the adapters were trained on.

        Args:
            model: The base, or its name, where it has moved.
            revision: Its commit; default: that of the training.
            token: Access token for the hub.
            **loading: As `load_base` takes it.

        Raises:
            InputError: It cannot be loaded, or is another one.
        """
        from likra.models.base import Base, base_of, load_base

        if isinstance(model, Base):
            base = base_of(model, **loading)
        else:
            revision = revision or (self.origin["revision"] if model is None else None)
            try:
                base = load_base(model or self.origin["name"], revision=revision, token=token, **loading)
            except InputError as error:
                hint = "" if model else " These heads were trained on it; if it has moved, give model (--base)."
                raise InputError(f"{error}{hint}") from None
        check_base(self.folder, self.origin, base)
        now = base.tokenizer.get_chat_template() if base.tokenizer.chat_template else None
        if self.chat_template and self.chat_template != now:
            logger.warning(
                "%s: its heads learned another chat template than the tokenizer of %s has now; theirs is used",
                *(self.folder, base.name),
            )
            base = dataclasses.replace(base, tokenizer=copy.copy(base.tokenizer))
            base.tokenizer.chat_template = self.chat_template
        return base


def read_saved(folder: Path) -> Saved:
    """What `Likra.save_pretrained` wrote.

    Raises:
        InputError: A file is missing or damaged.
    """
    manifest = read_manifest(folder)
    style, training = manifest["prompt"]["style"], manifest["training"]
    return Saved(
        folder=folder,
        folders={name: folder / where for name, where in manifest["heads"].items()},
        origin=manifest["base"],
        training_config=TrainingConfig.from_dict(manifest["training_config"]),
        weight=manifest["weight"],
        style=style,
        adapt=manifest["adapt"],
        invocation_tokens=manifest["invocation_tokens"],
        training=training,
        losses=[Step(**json.loads(line)) for line in (folder / LOSSES).read_text(encoding="utf-8").splitlines()],
        calibration=_with_style(read_calibration(folder), style, training),
        lone_calibration=read_calibration(folder, LONE_CALIBRATION),
        evaluations=read_evaluations(folder),
        chat_template=manifest["prompt"].get("chat_template"),
    )


def write_beside(
    folder: Path,
    calibrations: Sequence[CalibrationRecord | None],
    evaluations: list[dict[str, Any]],
    records: Records | None = None,
) -> None:
    """Write what is known of adapters beside them."""
    for calibration in calibrations:
        if calibration:
            write_calibration(calibration, folder)
    if evaluations:
        write_json(folder / EVALUATIONS, evaluations)
    if records:
        write_records(records, folder)


def _with_style(fitted: CalibrationRecord | None, style: str, training: Mapping[str, Any]) -> CalibrationRecord | None:
    """A calibration that was saved before its style was: it is the adapters' own where it was fitted to their data.

    Where it was fitted to other data, its style is not known, and it gives no probability.
    """
    if fitted is None or fitted.calibration.style is not None:
        return fitted
    if fitted.data not in (None, training.get("data")):
        logger.warning(
            "the calibration does not say which prompt style it is for, so there will be no probabilities; "
            "repeat `likra calibrate`"
        )
        return fitted
    return dataclasses.replace(fitted, calibration=dataclasses.replace(fitted.calibration, style=style))
