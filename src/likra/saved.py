"""Heads on disk: what a folder of them holds, where it is found, and that it is what was saved."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, cast

from likra import __version__
from likra.errors import InputError
from likra.files import sha256, write_json
from likra.heads.adapters import write_adapter
from likra.heads.base import Base, sampled
from likra.heads.identity import Identity
from likra.heads.recipe import Recipe
from likra.heads.stack import ACTIVATIONS, HeadStack
from likra.heads.training import Step
from likra.judge.scores import check_weight
from likra.layout import CONFIG, EVALUATIONS, EXTRAS, LOSSES, MANIFEST, WEIGHTS, check_heads
from likra.likelihood.table import NEGATIVE, POSITIVE
from likra.questions.prompts import STYLES

logger = logging.getLogger(__name__)

FORMAT = 1  # of the manifest; raised when an older likra can no longer read it

#: An evaluation with these alike replaces an earlier one.
SETTINGS = ("data", "split", "shots", "sampled_shots", "limit", "weight", "normalisation")


def write_heads(
    folder: Path,
    stack: HeadStack,
    names: Mapping[str, str],
    recipe: Recipe,
    weight: float,
    style: str,
    training: dict[str, Any],
    losses: Sequence[Step] = (),
) -> None:
    """Write heads of a stack as `Likra.from_pretrained` reads them.

    Args:
        folder: Where to; new or empty.
        stack: The stack.
        names: role (`positive`, `negative`) -> name of its head in the stack.
        recipe, weight, style, training, losses: As `Likra` has them.
    """
    for role, name in names.items():
        write_adapter(stack, name, folder / role)
    with (folder / LOSSES).open("w", encoding="utf-8") as log:
        log.writelines(f"{step.as_json()}\n" for step in losses)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    base = stack.base
    manifest = {
        "likra": __version__,
        "format": FORMAT,
        "base": {"name": base.name, "revision": base.revision, "identity": base.identity().as_dict()},
        "heads": {role: role for role in names},
        "weight": weight,
        "prompt": {"style": style},
        "activation": stack.activation,
        "invocation": list(stack.invocation),
        "recipe": recipe.as_dict(),
        "training": training,
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `likra.json` of a heads folder, once every file that it lists has been checked.

    Raises:
        InputError: The folder or a file is missing, outside the folder, or not what was written.
    """
    path = folder / MANIFEST
    check_heads(folder)
    newer = ""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        later = int(manifest.get("format", 0)) > FORMAT
        if _version(manifest["likra"]) > _version(__version__) or later:
            newer = f"was written by likra {manifest['likra']}, newer than this one ({__version__}); upgrade likra."
        if later:
            raise ValueError("its format is unknown")
        files, heads = dict(manifest["files"]), dict(manifest["heads"])
        if not heads or not set(heads) <= {POSITIVE, NEGATIVE}:
            raise ValueError(f"its heads are {', '.join(heads) or 'none'}")
        Recipe(**manifest["recipe"])
        check_weight(manifest["weight"])
        _ = [manifest["base"][key] for key in ("name", "revision")]
        _ = _identity(manifest["base"]) or manifest["base"]["fingerprint"]
        if manifest["prompt"]["style"] not in STYLES or manifest["activation"] not in ACTIVATIONS:
            raise ValueError("its prompt style or activation is unknown")
        if not isinstance(manifest["training"], dict):
            raise TypeError("training is not an object")
        tuple(map(int, manifest.get("invocation", ())))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if newer:
            raise InputError(f"{path}: {newer}") from None
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); copy the folder again.") from None
    needed = {f"{where}/{file}" for where in heads.values() for file in (CONFIG, WEIGHTS)} | {LOSSES}
    for name in sorted(needed | set(files)):
        if not _inside(name):
            raise InputError(f"{path}: names a file outside its folder ({name}); do not use it.")
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing; copy the whole folder again.")
        if sha256(folder / name) != files.get(name):
            raise InputError(
                f"{folder / name}: is not the file that was saved (truncated or changed); copy the folder again."
            )
    return cast(dict[str, Any], manifest)


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def _identity(origin: dict[str, Any]) -> Identity | None:
    """The base that a manifest names; None in those of before there was one."""
    return Identity.from_dict(origin["identity"]) if "identity" in origin else None


def check_base(folder: Path, origin: dict[str, Any], base: Base) -> None:
    """See that a base is the one that heads were trained on; a difference in precision alone is only said.

    Args:
        folder: The heads'.
        origin: `base` of their manifest.
        base: The base that they are to stand on.

    Raises:
        InputError: It is another one.
    """
    told = _identity(origin)
    if told:
        wrong, said = told.differences(base.identity())
    else:
        wrong, said = ["its weights are others"] if sampled(base.model) != origin["fingerprint"] else [], []
    at = f" at {origin['revision']}" if origin["revision"] else ""
    if wrong:
        raise InputError(
            f"{folder}: its heads were trained on {origin['name']}{at}, but {base.name} differs from it: "
            f"{'; '.join(wrong[:3])}{' ...' if len(wrong) > 3 else ''}; load the base (--base, --base-revision) that "
            "they were trained on."
        )
    if said:
        logger.warning(
            "%s: its heads were trained on %s%s in another precision: %s; scores differ a little",
            *(folder, origin["name"], at, ", and ".join(said)),
        )


def _inside(name: str) -> bool:
    """Whether a relative path stays in its folder, on any system."""
    return not any(
        path.drive or path.root or ".." in path.parts for path in (PurePosixPath(name), PureWindowsPath(name))
    )


def own_files(folder: Path) -> list[str]:
    """The files of a heads folder that belong to its heads, by name; whatever else lies there is not among them.

    Raises:
        InputError: As `read_manifest`.
    """
    return [MANIFEST, *read_manifest(folder)["files"], *(name for name in EXTRAS if (folder / name).is_file())]


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """What `likra eval --record` found, oldest first; none where nothing was recorded.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / EVALUATIONS
    if not path.exists():
        return []
    try:
        evaluations = json.loads(path.read_text(encoding="utf-8"))
        for one in evaluations:
            _ = [one[key] for key in (*SETTINGS, "questions", "date")]
            _ = [float(value[key]) for value in one["methods"].values() for key in ("accuracy", "low", "high")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is damaged ({type(error).__name__}: {error}); remove it, and record again."
        ) from None
    return cast(list[dict[str, Any]], evaluations)


def record_evaluation(evaluation: dict[str, Any], folder: Path) -> None:
    """Keep an evaluation with its heads, in place of an earlier one with the same `SETTINGS`."""
    kept = [one for one in read_evaluations(folder) if any(one[key] != evaluation[key] for key in SETTINGS)]
    write_json(folder / EVALUATIONS, [*kept, evaluation])
