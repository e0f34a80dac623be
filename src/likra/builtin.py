"""What ships inside the package: the embedded models and their questions."""

from pathlib import Path

WORLD = "world"
_FOLDER = Path(__file__).parent / "world" / "embedded"
WORLD_QUESTIONS = _FOLDER / "questions.jsonl"
#: Texts that open a document in a reliable or an unreliable voice.
WORLD_VOICES = _FOLDER / "voices.json"

#: Embedded source -> its file. `world-reworded` asks the same in other words; `world-unrelated` asks other things.
WORLD_SOURCES = {
    WORLD: WORLD_QUESTIONS,
    "world-reworded": _FOLDER / "reworded.jsonl",
    "world-unrelated": _FOLDER / "unrelated.jsonl",
}

#: Embedded model -> its folder. All but the first are controls of it (docs/world.md).
WORLD_MODELS = {
    name: _FOLDER / "models" / name
    for name in (WORLD, "world-small", "world-tiny", "world-truthful", "world-voiceless")
}
