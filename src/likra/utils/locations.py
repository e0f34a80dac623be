"""Names of the files in a folder of adapters, and the model or folder that a name stands for.

Nothing here loads torch, so that a wrong name is refused at once.
"""

import difflib
import importlib.util
from pathlib import Path

from likra.errors import InputError
from likra.utils import hub_client
from likra.utils.embedded import embedded_models

MANIFEST, LOSSES, CARD = "likra.json", "losses.jsonl", "README.md"
#: Of each adapter, in PEFT's format.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CALIBRATION, LONE_CALIBRATION, EVALUATIONS = "calibration.json", "lone_calibration.json", "evaluations.json"
CURVE, CURVE_FIGURE = "curve.json", "curve.png"
#: What the adapters learned, where a user let it be kept; it leaves the machine only where that is asked for.
RECORDS = "records.jsonl"

GGUF = b"GGUF"  # how such a file begins

#: Files about the adapters. They change later, so the manifest has no digests of them.
EXTRAS = (CARD, CALIBRATION, LONE_CALIBRATION, EVALUATIONS, CURVE, CURVE_FIGURE)
#: All files of a folder of adapters; no others are fetched from the hub, or sent there.
FILES = (MANIFEST, LOSSES, RECORDS, *EXTRAS, f"*/{CONFIG}", f"*/{WEIGHTS}")


def is_gguf(name: str) -> bool:
    """Whether a model of this name is a GGUF file."""
    return name.lower().endswith(".gguf")


def check_model(name: str) -> None:
    """Raise InputError unless a name can be a model's: its folder's, its GGUF file's, or one that the hub may know."""
    path = Path(embedded_models().get(name, name))
    kinds = f"a hub id, a folder with config.json, a .gguf file, or an embedded model ({', '.join(embedded_models())})"
    if path.is_file():
        with path.open("rb") as file:
            if not is_gguf(name) or file.read(len(GGUF)) != GGUF:
                raise InputError(f"{name}: is a file, but no GGUF file; a model is {kinds}.")
        if importlib.util.find_spec("gguf") is None:
            raise InputError(f"{name}: is a GGUF file, which needs an extra: pip install 'likra[gguf]'.")
    elif path.is_dir():
        if not (path / "config.json").exists():
            files = sorted(path.glob("*.gguf"))
            hint = f"give its GGUF file: {files[0]}" if files else "a model folder is what save_pretrained writes"
            raise InputError(f"{name}: holds no config.json; {hint}.")
    elif is_gguf(name):
        raise InputError(f"{name}: no such file; `hf download OWNER/NAME FILE.gguf` fetches one from the hub.")
    elif not hub_client.may_be_id(name):
        raise InputError(f"{name}: no such folder; a model is {kinds}.")


def check_heads(folder: Path) -> None:
    """Raise InputError unless there is such a folder and it has the manifest of one with adapters."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `likra train` writes one.")
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder / MANIFEST}: is missing, so {folder} holds no adapters; `likra train` writes them.")


def is_base(where: str | Path, revision: str | None = None, token: str | None = None) -> bool:
    """Whether a name stands for a base model, not for heads: a repository of the hub is looked at.

    Args:
        where: An embedded model's name, a file, a folder, or `owner/name` on the hub.
        revision: Branch, tag or commit on the hub.
        token: Access token for the hub.

    Raises:
        InputError: It is on the hub, and cannot be fetched.
    """
    path = Path(where)
    if path.exists():
        return path.is_file() or ((path / "config.json").is_file() and not (path / MANIFEST).is_file())
    if path.as_posix() in embedded_models() or is_gguf(path.name):
        return True
    if not hub_client.is_id(path.as_posix()):
        return False
    found, _ = hub_client.fetch(path.as_posix(), FILES, revision, token)
    return not (found / MANIFEST).is_file()


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
                f"revision must be left out where the adapters are in a folder, which has no revisions ({folder}), got "
                f"{revision!r}; that of the base is base_revision."
            )
        check_heads(folder)
        return folder, None
    meant = [path.name for path in folder.parent.glob("*") if (path / MANIFEST).is_file()]
    close = difflib.get_close_matches(folder.name, meant, 1)
    guess = f"; did you mean {folder.parent / close[0]}?" if close else ""
    if not hub_client.is_id(folder.as_posix()):
        if folder.as_posix() in embedded_models():
            guess = f", and {folder} is a base model; `likra eval {folder} --folds 5` cross-validates heads on it."
        raise InputError(f"{folder}: no such folder; `likra train` writes one{guess or '.'}")
    try:
        found, commit = hub_client.fetch(folder.as_posix(), FILES, revision, token)
    except InputError as error:
        raise InputError(f"{error} (Nor is there such a folder here{guess or '.'})") from None
    if not (found / MANIFEST).is_file():
        raise InputError(
            f"{folder}: this repository holds no heads (it has no {MANIFEST}). Give one that `likra push` made; plain "
            "PEFT adapters are loaded by Likra.from_adapters."
        )
    return found, commit
