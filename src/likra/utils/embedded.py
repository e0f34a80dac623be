"""The models and questions that come with the package, or with another that offers its own.

A folder of embedded files holds `models/<name>/`, as `save_pretrained` writes them, and `questions/<name>.jsonl`.
Another installed package adds its folder by an entry point in the group `likra.embedded` that names a module: the
folder is that module's.
"""

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

_FOLDERS = [Path(__file__).parents[1] / "embedded"]


def add_folder(folder: Path) -> None:
    """Offer the models and questions of one more folder in this process."""
    _FOLDERS.append(folder)
    embedded_models.cache_clear()
    embedded_questions.cache_clear()


@cache
def embedded_models() -> dict[str, Path]:
    """Embedded model -> its folder.

    >>> "world-tiny" in embedded_models()
    True
    """
    return {path.name: path for folder in _folders() for path in sorted((folder / "models").glob("*"))}


@cache
def embedded_questions() -> dict[str, Path]:
    """Embedded source -> its file."""
    return {path.stem: path for folder in _folders() for path in sorted((folder / "questions").glob("*.jsonl"))}


def _folders() -> list[Path]:
    found = list(_FOLDERS)
    for point in importlib.metadata.entry_points(group="likra.embedded"):
        spec = importlib.util.find_spec(point.value)
        found += map(Path, spec.submodule_search_locations or []) if spec else []
    return found
