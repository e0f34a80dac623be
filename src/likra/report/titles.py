"""What things are called where people read them."""

from likra.judge.scores import METHOD_TITLES
from likra.study.catalogue.generation import WAYS
from likra.study.catalogue.rivals import RIVALS

RIVAL_TITLES = {method: title for method, (title, _) in RIVALS.items()}

KIND_TITLES = {
    "incorrect": "incorrect (own near-misses)",
    "irrelevant": "irrelevant (other answers)",
    "unrelated": "unrelated (other source)",
    "all": "all own wrong choices",
    "mined": "mined from the base",
}

TEST_TITLES = {"own": "near-miss distractors", "random": "random distractors", "reworded": "reworded answers"}

#: What turns scores into probabilities.
CALIBRATION_TITLES = {"softmax": "softmax as it is", "temperature": "temperature", "isotonic": "isotonic"}

HEAD_TITLES = {"base": "base", "positive": "positive head", "incorrect": "negative head"}

__all__ = [
    "CALIBRATION_TITLES",
    "HEAD_TITLES",
    "KIND_TITLES",
    "METHOD_TITLES",
    "RIVAL_TITLES",
    "TEST_TITLES",
    "WAYS",
]
