"""Where models and heads lie: the files of a heads folder, by name, and what a name on the command line stands for.

Nothing here loads torch, so that a wrong name is refused at once.
"""

import difflib
from pathlib import Path

from likra import hub
from likra.builtin import WORLD, WORLD_MODELS
from likra.errors import InputError

MANIFEST, LOSSES, CARD = "likra.json", "losses.jsonl", "README.md"
#: Of each head, in PEFT's format.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CALIBRATION, EVALUATIONS = "calibration.json", "evaluations.json"
CURVE, CURVE_FIGURE = "curve.json", "curve.png"

#: What may be known of heads beside themselves. It changes later, so the manifest has no digests of it.
EXTRAS = (CARD, CALIBRATION, EVALUATIONS, CURVE, CURVE_FIGURE)
#: All that a heads folder holds; nothing else is fetched from the hub, or sent there.
FILES = (MANIFEST, LOSSES, *EXTRAS, f"*/{CONFIG}", f"*/{WEIGHTS}")


def check_model(name: str) -> None:
    """Raise InputError where a name can be no model's: neither a model's folder nor a name that the hub may know."""
    path = Path(WORLD_MODELS.get(name, name))
    if path.is_file():
        raise InputError(f"{name}: is a file; a model is a hub id, a folder with config.json, or `{WORLD}`.")
    if path.is_dir():
        if not (path / "config.json").exists():
            raise InputError(f"{name}: holds no config.json; a model folder is what save_pretrained writes.")
    elif not hub.may_be_id(name):
        raise InputError(f"{name}: no such folder; a model is a hub id, a folder with config.json, or `{WORLD}`.")


def check_heads(folder: Path) -> None:
    """Raise InputError unless a folder is there and holds heads, or what is left of them."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `likra train` writes one.")
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder / MANIFEST}: is missing, so {folder} is no heads folder; `likra train` writes one.")


def find_heads(where: str | Path, revision: str | None = None, token: str | None = None) -> tuple[Path, str | None]:
    """The folder of some heads, and their commit where they come from the hub.

    Args:
        where: A folder, or `owner/name` on the Hugging Face hub; a folder wins.
        revision: Branch, tag or commit on the hub; default: its main branch.
        token: Access token for the hub.

    Raises:
        InputError: There is neither, or the repository cannot be fetched or holds no heads.
    """
    folder = Path(where)
    if folder.exists():
        if revision is not None:
            raise InputError(
                f"--revision {revision}: {folder} is a folder here, and a folder has no revisions; to choose that of "
                "its base, give --base-revision."
            )
        check_heads(folder)
        return folder, None
    meant = [path.name for path in folder.parent.glob("*") if (path / MANIFEST).is_file()]
    close = difflib.get_close_matches(folder.name, meant, 1)
    guess = f"; did you mean {folder.parent / close[0]}?" if close else ""
    if not hub.is_id(folder.as_posix()):
        raise InputError(f"{folder}: no such folder; `likra train` writes one{guess or '.'}")
    try:
        found, commit = hub.fetch(folder.as_posix(), FILES, revision, token)
    except InputError as error:
        raise InputError(f"{error} (Nor is there such a folder here{guess or '.'})") from None
    if not (found / MANIFEST).is_file():
        raise InputError(
            f"{folder}: this repository holds no heads (it has no {MANIFEST}). Give one that `likra push` made; plain "
            "PEFT adapters are loaded by Likra.from_adapters."
        )
    return found, commit
