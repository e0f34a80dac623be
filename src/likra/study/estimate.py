"""What a plan takes: questions, downloads, memory, operations. Reckoned without loading any model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from likra.builtin import WORLD_MODELS
from likra.questions.sources import HUB, Source, load
from likra.study.cells import Cell
from likra.study.task import Task

#: Parameters of the models of the presets, in billions, for where the hub cannot be asked.
_PARAMETERS = {
    "mistralai/Mistral-7B-v0.1": 7.24,
    "mistralai/Mistral-7B-Instruct-v0.3": 7.25,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21,
    "HuggingFaceTB/SmolLM2-135M": 0.135,
}
#: Sources of the presets: training and test questions, and tokens of a question with one and with all its answers.
_PUBLISHED = {
    "arc-paper": (6615, 1172, 40, 70),
    "hellaswag": (39905, 10042, 90, 190),
    "blimp": (60218, 6782, 12, 20),
}
_CHARACTERS = 4  # per token, roughly, of English
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_READERS = {
    "rivals": 6,
    "trl": 1,
    "mechanism": 60,
    "generation": 100,
}  # heads judged per size, and looks that cost as much


@dataclass(frozen=True)
class Data:
    """What is known of a source.

    Attributes:
        train, test: Questions.
        one, every: Mean tokens of a question with one answer, and with all of them; estimates.
        known: Whether it was loaded; else the numbers are those published.
    """

    train: int
    test: int
    one: float
    every: float
    known: bool


@lru_cache(maxsize=16)
def data_of(name: str) -> Data | None:
    """What is known of a source without a download; None if that is nothing.

    Raises:
        InputError: A local source is missing, or is not in order.
    """
    if name in _PUBLISHED:
        return Data(*_PUBLISHED[name], known=False)
    if name in HUB or name.startswith("hf:"):
        return None
    source: Source = load(name)
    test = source.split(None)
    some = test[:500]
    asked = sum(len(question.text) for question in some) / len(some)
    answered = sum(sum(map(len, question.choices)) for question in some) / len(some)
    each = answered / (sum(len(question.choices) for question in some) / len(some))
    return Data(
        len(source.questions.get("train", [])),
        len(test),
        (asked + each) / _CHARACTERS,
        (asked + answered) / _CHARACTERS,
        known=True,
    )


@lru_cache(maxsize=16)
def parameters_of(name: str) -> float | None:
    """Parameters of a model: of a local one, from the headers of its safetensors files; None if they are not known."""
    folder = WORLD_MODELS.get(name, Path(name))
    files = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return _PARAMETERS[name] * 1e9 if name in _PARAMETERS else None
    total = 0
    for path in files:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for key, entry in header.items():
            if key != "__metadata__":
                count = 1
                for extent in entry["shape"]:
                    count *= extent
                total += count
    return float(total)


def at_hand(name: str) -> bool:
    """Whether a model is on this machine, as far as its name says."""
    return name in WORLD_MODELS or Path(name).is_dir()


def bytes_of(task: Task) -> float | None:
    """Bytes that a task's model takes once loaded."""
    parameters = parameters_of(task.model)
    return None if parameters is None else parameters * _BYTES.get(str(task.loading.get("dtype")), 4)


def operations(cells: Sequence[Cell]) -> float | None:
    """Floating-point operations of some cells: 4 per parameter and token trained on, 2 per one read; None: unknown."""
    total = 0.0
    for cell in cells:
        task = Task(**cell["task"])
        data, parameters = data_of(task.data), parameters_of(task.model)
        if data is None or parameters is None:
            return None
        settings = json.loads(cell.settings)
        heads = len(settings.get("heads", ())) or 3
        sizes: list[int] = settings["sizes"]
        examples = min(sizes[-1], data.train) * heads * (3 if "all" in settings.get("heads", ()) else 1)
        readers = _READERS.get(cell.work, heads) * len(sizes) * len(settings.get("tests", ("own",)))
        # Examples in the prompt are the same for all questions, and read once.
        shown = task.shots * data.one
        test = min(task.limit or data.test, data.test)
        total += parameters * (4 * examples * data.one + 2 * readers * (test * data.every + shown))
    return total
