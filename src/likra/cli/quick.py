"""A quick import of transformers, for commands that read or write text with one model in one process.

Most of what `transformers.modeling_utils` imports serves other ends: to compile models, to shard them, to train
detectors. It takes longer than torch itself. For the time of the import, that is said to be absent, by the means that
Python and transformers have for what is not installed; and the two packages whose `__init__` lists all models are
entered without it. Whoever asks for anything else of transformers gets the whole of it after all.

Only the command line does this, in a process of its own: a program that uses likra as a library may want the rest.
"""

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

#: Not needed to run a language model in one process, and slow to import.
_ABSENT = ("accelerate", "pandas", "PIL", "scipy", "sklearn", "torchaudio", "torchvision")
#: What likra's own modules import from `transformers` itself, and where it is.
_HOME = {
    "AttentionInterface": "modeling_utils",
    "AutoModelForCausalLM": "models.auto.modeling_auto",
    "AutoTokenizer": "models.auto.tokenization_auto",
    "BitsAndBytesConfig": "utils.quantization_config",
    "Cache": "cache_utils",
    "DynamicCache": "cache_utils",
    "GenerationConfig": "generation.configuration_utils",
    "LogitsProcessor": "generation.logits_process",
    "LogitsProcessorList": "generation.logits_process",
    "PreTrainedModel": "modeling_utils",
    "StoppingCriteria": "generation.stopping_criteria",
    "StoppingCriteriaList": "generation.stopping_criteria",
}
#: What every language model's own module imports, and what loads it.
_NEEDED = ("modeling_layers", "masking_utils", "generation.utils", *sorted({*_HOME.values()}))


def import_transformers() -> None:
    """Import what of transformers runs a language model. Does nothing where transformers has been imported.

    It leans on how transformers is built inside; where that does not hold, all of transformers is imported as usual.
    """
    if "transformers" in sys.modules:
        return
    gc.disable()  # modules are no garbage, and looking through them for some takes a tenth of the time
    try:
        _import()
    except Exception:
        logger.debug("transformers is not as the quick import expects it", exc_info=True)
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
            del sys.modules[name]
    finally:
        gc.freeze()
        gc.enable()


def _import() -> None:
    import torch

    with _absent(_ABSENT), _uncompiled(torch):
        # transformers asks once: in this process it works as with a torch that was built without `torch.distributed`.
        available, torch.distributed.is_available = torch.distributed.is_available, lambda: False
        try:
            _enter(Path(str(_spec().origin)).parent)
        finally:
            torch.distributed.is_available = available


@contextlib.contextmanager
def real_modules() -> Iterator[None]:
    """Within the block, models are made where they will be, without first values, and not as mere shapes at first.

    What operations make of shapes is computed by Python code that loads torch's compiler and a system of algebra.
    """
    from transformers import PreTrainedModel

    own = PreTrainedModel.__dict__.get("get_init_context")
    if own is None or importlib.util.find_spec("transformers.initialization") is None:
        yield
        return

    def contexts(cls: type, dtype: Any, is_quantized: bool, *more: Any) -> list[Any]:
        initialization = importlib.import_module("transformers.initialization")
        found = own.__get__(None, cls)(dtype, is_quantized, *more)
        return [initialization.no_init_weights() if str(one) == "meta" and not is_quantized else one for one in found]

    setattr(PreTrainedModel, "get_init_context", classmethod(contexts))  # noqa: B010
    try:
        yield
    finally:
        setattr(PreTrainedModel, "get_init_context", own)  # noqa: B010


def _enter(folder: Path) -> None:
    """Make the packages without their `__init__`, and import in them what is needed."""
    package, models = _Package("transformers", folder), _Package("transformers.models", folder / "models")
    package.__version__ = importlib.metadata.version("transformers")  # type: ignore[attr-defined]
    package.models = models  # type: ignore[attr-defined]
    import transformers.utils

    # Of the processors of other modalities, which would execute the package's `__init__`.
    setattr(transformers.utils, "direct_transformers_import", lambda *_: sys.modules["transformers"])  # noqa: B010
    loading = importlib.import_module("transformers.core_model_loading")
    loading.re = _LazyPatterns()  # type: ignore[attr-defined]
    for name in _NEEDED:
        importlib.import_module(f"transformers.{name}")


class _Package(ModuleType):
    """A package whose `__init__` has not been executed; it is, once something is asked that is not to be found without.

    Args:
        name: Its name.
        folder: Its folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.__path__, self.__file__, self.__spec__ = [str(folder)], str(folder / "__init__.py"), _spec(name, folder)
        sys.modules[name] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        if name in _HOME and self.__name__ == "transformers":
            return getattr(importlib.import_module(f"transformers.{_HOME[name]}"), name)
        if sys.modules.get(self.__name__) is self:
            for package in ("transformers", "transformers.models"):
                if isinstance(sys.modules.get(package), _Package):
                    del sys.modules[package]
        return getattr(importlib.import_module(self.__name__), name)


def _spec(name: str = "transformers", folder: Path | None = None) -> Any:
    if folder is None:
        return importlib.util.find_spec(name)
    return importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )


@contextlib.contextmanager
def _absent(names: tuple[str, ...]) -> Iterator[None]:
    """Within the block, packages that have not been imported seem not to be installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: Python's own sign for it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _uncompiled(torch: ModuleType) -> Iterator[None]:
    """Within the block, marks for torch's compiler leave functions as they are, so that it need not be imported."""
    if "torch._dynamo" in sys.modules:
        yield
        return

    class Marks(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return _as_it_is

    marks = Marks("torch._dynamo")
    marks.__path__ = [str(Path(str(torch.__file__)).parent / "_dynamo")]
    sys.modules["torch._dynamo"] = marks
    setattr(torch, "_dynamo", marks)  # noqa: B010
    try:
        yield
    finally:
        del sys.modules["torch._dynamo"]
        delattr(torch, "_dynamo")


def _as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    return function if callable(function) else _as_it_is


class _LazyPatterns:
    """The module `re`, whose `compile` waits until a pattern is used: transformers has a thousand for other models."""

    def __getattr__(self, name: str) -> Any:
        return getattr(re, name)

    def compile(self, *arguments: Any) -> Any:
        return _LazyPattern(functools.partial(re.compile, *arguments))


class _LazyPattern:
    def __init__(self, make: Any) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)
