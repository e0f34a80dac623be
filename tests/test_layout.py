"""The layout: imports go one way, the library does not know the laboratory, and nothing loads pickles."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE

SOURCE = Path(__file__).parents[1] / "src" / "likra"
#: Each may import from those before it, and from `errors` and `utils`.
LIBRARY = [
    "data",
    "scoring",
    "models",
    "engine",
    "training",
    "generation",
    "mining",
    "hub",
    "likra",
    "tuning",
    "teaching",
    "bulk",
]
FACES = ["serve", "integrations", "cli"]
#: Parts of the laboratory; each may import from those before it. A study's drawing and wording are below the studies,
#: the page that shows all of them is above.
LAB = [
    "world",
    "runner",
    "registry",
    "report.text",
    "report.canvas",
    "study",
    "rival",
    "rivals",
    "studies",
    "claims",
    "presets",
    "run",
    "report",
    "demo",
]


def modules(library_only: bool = False) -> Iterator[tuple[Path, str]]:
    """(file, its dotted name below likra)."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__") and not (library_only and name.split(".")[0] in ("lab", "cli")):
            yield path, name


def imports(path: Path) -> set[str]:
    """Dotted names below likra that a file imports, also in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "likra":
            # `from likra.utils import hub_client` imports a module, or a name of `likra.utils`.
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}".removeprefix("likra.")
                path = SOURCE / dotted.replace(".", "/")
                is_module = path.with_suffix(".py").exists() or path.is_dir()
                found.add(dotted if is_module else node.module.removeprefix("likra").removeprefix("."))
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("likra.") for alias in node.names if alias.name.startswith("likra.")}
    return found - {""}


def below(own: str, other: str) -> bool:
    """Whether a part may import another."""
    if other in ("errors", "utils") or own == other:
        return True
    order = [*LIBRARY, *FACES]
    if own in ("errors", "utils") or other not in order:
        return False
    return order.index(other) < order.index(own)


@pytest.mark.parametrize(("path", "name"), list(modules(library_only=True)), ids=lambda value: str(value)[-40:])
def test_imports_go_one_way(path: Path, name: str) -> None:
    for other in imports(path):
        assert below(name.split(".")[0], other.split(".")[0]), f"{name} imports {other}"


def in_lab(name: str) -> int:
    """The place of a module in `LAB`: that of the longest part that it belongs to."""
    parts = [part for part in LAB if f"{name}.".startswith(f"lab.{part}.")]
    return LAB.index(max(parts, key=len))


def test_the_laboratory_is_built_in_order() -> None:
    for path, name in modules():
        if not name.startswith("lab."):
            continue
        for other in imports(path):
            assert other.split(".")[0] not in ("cli", "serve", "integrations"), f"{name} imports {other}"
            if other.startswith("lab."):
                assert in_lab(other) <= in_lab(name), f"{name} imports {other}"


#: Words of the laboratory that no file of the library may have as a part of a name or of a text.
LAB_WORDS = re.compile(r"\b(likra\.lab|laboratory|study|studies|rivals?|demo)\b|`world`", re.IGNORECASE)
#: Names of studies and rivals that are no words of the library's own, as whole strings.
LAB_NAMES = {"world", "mechanism", "paraphrase", "distractors", "dpo", "nca", "kto"}
#: Before Python 3.12 an f-string is a STRING, since then it has parts of its own.
_WORDS = (tokenize.NAME, tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))


def own_words(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the identifiers, strings and comments of a file; examples in docstrings (`>>>`) are left out."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in _WORDS:
                for row, line in enumerate(token.string.splitlines()):
                    if not line.lstrip().startswith((">>>", "...")):
                        yield token.start[0] + row, line.replace("_", " ") if token.type == tokenize.NAME else line


@pytest.mark.parametrize(("path", "name"), list(modules(library_only=True)), ids=lambda value: str(value)[-40:])
def test_a_file_of_the_library_names_no_study_and_no_rival(path: Path, name: str) -> None:
    """No identifier, string or comment has a word of `LAB_WORDS`, and no string is one of `LAB_NAMES`.

    The library has words of its own that are names of studies and rivals too: curve, models, likelihoods, weights,
    negatives, coverage, scaling, calibration, generation, merged, reward, pmi. They are allowed.
    """
    for line, text in own_words(path):
        assert not LAB_WORDS.search(text), f"{path}:{line}: {text.strip()}"
        assert text not in {f'"{one}"' for one in LAB_NAMES}, f"{path}:{line}: {text.strip()}"


def test_no_circles() -> None:
    graph = {name: imports(path) for path, name in modules()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_parts_without_torch() -> None:
    for name in ("data", "scoring"):
        script = f"import sys, likra.{name}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], check=False, timeout=PATIENCE).returncode == 0, name


def test_nothing_loads_pickles() -> None:
    for path, _ in modules():
        assert not re.search(r"torch\.(load|save)\(|import pickle|allow_pickle", path.read_text(encoding="utf-8")), path
