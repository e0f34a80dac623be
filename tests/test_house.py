"""The house: imports go one way, and nothing loads pickles."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import PATIENCE

SOURCE = Path(__file__).parents[1] / "src" / "likra"
ROOMS = ["questions", "reading", "heads", "likelihood", "judge", "generation", "mining", "saved", "card"]
ROOMS += ["model", "study", "report", "world", "serve", "integrations", "cli"]
FOUNDATION = {"errors", "files", "builtin", "progress", "hub", "parallel", "layout"}


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "likra" else None


def test_no_room_imports_from_one_further_down() -> None:
    for path in SOURCE.rglob("*.py"):
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for other in filter(None, map(room, modules)):
                if own in FOUNDATION:
                    assert other in FOUNDATION, f"{path} imports {other}"
                elif other not in FOUNDATION and other != own:
                    assert ROOMS.index(other) < ROOMS.index(own), f"{path} imports {other}"


def test_only_the_world_knows_the_world() -> None:
    for path in SOURCE.rglob("*.py"):
        if "world" not in path.relative_to(SOURCE).parts[0] and path.name != "world.py":
            assert "likra.world" not in path.read_text(encoding="utf-8"), path


def test_rooms_without_torch() -> None:
    for name in ("questions", "judge"):
        script = f"import sys, likra.{name}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], check=False, timeout=PATIENCE).returncode == 0, name


def test_nothing_loads_pickles() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"torch\.(load|save)\(|import pickle|allow_pickle", path.read_text(encoding="utf-8")), path
