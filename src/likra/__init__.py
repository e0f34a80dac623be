"""likra teaches a language model from right and wrong answers, and judges new ones by their likelihood ratio."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from likra.errors import InputError
    from likra.heads.base import Base, load_base
    from likra.heads.recipe import Recipe
    from likra.heads.stack import HeadStack
    from likra.judge.evaluation import Evaluation
    from likra.likelihood.table import Likelihoods
    from likra.model import Candidate, Likra
    from likra.questions.question import Example, Question
    from likra.questions.sources import load

_WHERE = {
    "Base": "likra.heads.base",
    "Candidate": "likra.model",
    "Evaluation": "likra.judge.evaluation",
    "Example": "likra.questions.question",
    "HeadStack": "likra.heads.stack",
    "InputError": "likra.errors",
    "Likelihoods": "likra.likelihood.table",
    "Likra": "likra.model",
    "Question": "likra.questions.question",
    "Recipe": "likra.heads.recipe",
    "load": "likra.questions.sources",
    "load_base": "likra.heads.base",
}

__all__ = [
    "Base",
    "Candidate",
    "Evaluation",
    "Example",
    "HeadStack",
    "InputError",
    "Likelihoods",
    "Likra",
    "Question",
    "Recipe",
    "__version__",
    "load",
    "load_base",
]


def __getattr__(name: str) -> Any:
    # Loaded when first used: `likra --help` must not wait for torch.
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'likra' has no attribute {name!r}")
