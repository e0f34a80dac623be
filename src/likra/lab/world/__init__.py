"""The miniature world: a generator of questions, the builder of a model that lives in it, and what they made."""

from pathlib import Path

#: Name of the embedded model, and of its questions.
WORLD = "world"
#: Texts that open a document in a reliable or an unreliable voice.
VOICES = Path(__file__).parent / "voices.json"
