"""A folder of adapters: writing it, and reading it once its files are found to be what was written."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, cast

from likra import __version__
from likra.data.templates import TEMPLATES, Chat
from likra.errors import InputError
from likra.models.lora_config import ADAPT
from likra.scoring.likelihoods import NEGATIVE, POSITIVE
from likra.scoring.scores import check_weight
from likra.training.config import TrainingConfig
from likra.training.step import Step
from likra.utils.files import sha256
from likra.utils.locations import CONFIG, EXTRAS, LOSSES, MANIFEST, WEIGHTS, check_heads

if TYPE_CHECKING:
    from likra.models.base import Base
    from likra.models.identity import Identity
    from likra.models.stack import HeadStack

logger = logging.getLogger(__name__)

#: What an identity has (`likra.models.identity`, which loads torch and looks at each of them).
_IDENTITY = ("config", "tokenizer", "weights", "dtype", "quantization", "versions", "stored")

FORMAT = 2  # of the manifest; raised when an older likra can no longer read it


def write_heads(
    folder: Path,
    stack: "HeadStack",
    names: Mapping[str, str],
    training_config: TrainingConfig,
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
        training_config, weight, style, training, losses: As `Likra` has them.
    """
    from likra.models.adapters import write_adapter

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
        "prompt": {"style": style, **_chat_template(base, style)},
        "adapt": stack.adapt,
        "invocation_tokens": list(stack.invocation_tokens),
        "training_config": training_config.as_dict(),
        "training": training,
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _chat_template(base: "Base", style: str) -> dict[str, str]:
    """The chat template that the adapters learned, where they learned one."""
    return {"chat_template": base.tokenizer.get_chat_template()} if isinstance(TEMPLATES[style], Chat) else {}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `likra.json` of a folder of adapters, once every file that it lists has been checked.

    Raises:
        InputError: The folder or a file is missing, outside the folder, or not what was written.
    """
    check_heads(folder)
    path = folder / MANIFEST
    manifest = _parsed(path)
    needed = {f"{where}/{file}" for where in manifest["heads"].values() for file in (CONFIG, WEIGHTS)} | {LOSSES}
    for name in sorted(needed | set(manifest["files"])):
        if not _inside(name):
            raise InputError(f"{path}: names a file outside its folder ({name}); do not use it.")
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing; copy the whole folder again.")
        if sha256(folder / name) != manifest["files"].get(name):
            raise InputError(
                f"{folder / name}: is not the file that was saved (truncated or changed); copy the folder again."
            )
    return manifest


def _parsed(path: Path) -> dict[str, Any]:
    """A manifest with the names of this format, once its fields have been checked."""
    newer = ""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        later = int(manifest.get("format", 0)) > FORMAT
        if _version(manifest["likra"]) > _version(__version__) or later:
            newer = f"was written by likra {manifest['likra']}, newer than this one ({__version__}); upgrade likra."
        if later:
            raise ValueError("its format is unknown")
        manifest["files"], heads = dict(manifest["files"]), dict(manifest["heads"])
        if not heads or not set(heads) <= {POSITIVE, NEGATIVE}:
            raise ValueError(f"its heads are {', '.join(heads) or 'none'}")
        _bring_up_to_date(manifest)
        TrainingConfig.from_dict(manifest["training_config"])
        check_weight(manifest["weight"])
        origin = manifest["base"]
        _ = origin["name"], origin["revision"]
        _ = [origin["identity"][key] for key in _IDENTITY] if "identity" in origin else origin["fingerprint"]
        if manifest["prompt"]["style"] not in TEMPLATES or manifest["adapt"] not in ADAPT:
            raise ValueError("its prompt style, or what its adapters adapt, is unknown")
        if not isinstance(manifest["prompt"].get("chat_template", ""), str):
            raise TypeError("the chat template is not text")
        if not isinstance(manifest["training"], dict):
            raise TypeError("training is not an object")
        manifest["invocation_tokens"] = tuple(map(int, manifest["invocation_tokens"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise (InputError(f"{path}: {newer}") if newer else _damaged(path, error)) from None
    return cast(dict[str, Any], manifest)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: is damaged ({type(error).__name__}: {error}); copy the folder again.")


def _bring_up_to_date(manifest: dict[str, Any]) -> None:
    """Give a manifest of format 1, or of no format, the names of this one."""
    if int(manifest.get("format", 0)) >= FORMAT:
        return
    manifest["training_config"] = TrainingConfig.from_dict(manifest.pop("recipe")).as_dict()
    manifest["adapt"] = {"answer": "completion"}.get(manifest["activation"], manifest.pop("activation"))
    manifest["invocation_tokens"] = manifest.pop("invocation", ())


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def _identity(folder: Path, origin: dict[str, Any]) -> "Identity | None":
    """The identity of the base in a manifest; None in old ones, which have a fingerprint."""
    from likra.models.identity import Identity

    try:
        return Identity.from_dict(origin["identity"]) if "identity" in origin else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder / MANIFEST, error) from None


def check_base(folder: Path, origin: dict[str, Any], base: "Base") -> None:
    """Refuse a base that adapters were not trained on; warn where only its precision differs.

    Args:
        folder: The adapters' folder.
        origin: `base` in their manifest.
        base: The base that they are to be attached to.

    Raises:
        InputError: It is another one.
    """
    from likra.models.base import sampled

    told = _identity(folder, origin)
    if told:
        wrong, said = told.differences(base.identity())
    else:
        wrong, said = ["its weights are others"] if sampled(base.model) != origin["fingerprint"] else [], []
    at = f" at {origin['revision']}" if origin["revision"] else ""
    if wrong:
        raise InputError(
            f"{folder}: its heads were trained on {origin['name']}{at}, but {base.name} differs from it: "
            f"{'; '.join(wrong[:3])}{' ...' if len(wrong) > 3 else ''}; load the base that they were "
            "trained on."
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


def own_files(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The files of a folder that belong to its adapters, by name; whatever else lies there is not among them."""
    return [MANIFEST, *manifest["files"], *(name for name in EXTRAS if (folder / name).is_file())]
