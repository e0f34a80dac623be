"""What ships inside the package: the embedded model and its questions, both named `world`."""

from pathlib import Path

WORLD = "world"
_FOLDER = Path(__file__).parent / "world" / "embedded"
WORLD_MODEL = _FOLDER / "model"
WORLD_QUESTIONS = _FOLDER / "questions.jsonl"
