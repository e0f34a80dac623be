"""likra teaches a language model from right and wrong answers, and judges new ones by their likelihood ratio."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from likra.bulk.here import score_file
    from likra.data.question import Example, Question
    from likra.data.sources import load
    from likra.errors import InputError, LikraError, StateError, TrainingDiverged
    from likra.likra import Likra
    from likra.models.base import Base, load_base
    from likra.models.lora_config import lora_config
    from likra.models.stack import HeadStack
    from likra.scoring.candidates import Candidate
    from likra.scoring.config import Scoring
    from likra.scoring.evaluation import Evaluation
    from likra.scoring.likelihoods import Likelihoods
    from likra.training.config import TrainingConfig
    from likra.utils.runtime import Runtime

_WHERE = {
    "Base": "likra.models.base",
    "Candidate": "likra.scoring.candidates",
    "Evaluation": "likra.scoring.evaluation",
    "Example": "likra.data.question",
    "HeadStack": "likra.models.stack",
    "InputError": "likra.errors",
    "Likelihoods": "likra.scoring.likelihoods",
    "Likra": "likra.likra",
    "Question": "likra.data.question",
    "LikraError": "likra.errors",
    "Runtime": "likra.utils.runtime",
    "Scoring": "likra.scoring.config",
    "StateError": "likra.errors",
    "TrainingConfig": "likra.training.config",
    "TrainingDiverged": "likra.errors",
    "lora_config": "likra.models.lora_config",
    "load": "likra.data.sources",
    "load_base": "likra.models.base",
    "score_file": "likra.bulk.here",
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
    "LikraError",
    "Question",
    "Runtime",
    "Scoring",
    "StateError",
    "TrainingConfig",
    "TrainingDiverged",
    "__version__",
    "load",
    "load_base",
    "lora_config",
    "score_file",
]


def __getattr__(name: str) -> Any:
    # Loaded when first used: `likra --help` must not wait for torch.
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'likra' has no attribute {name!r}")
