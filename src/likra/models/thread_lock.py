"""One thread at a time for a model: what runs it or changes it takes its lock."""

import functools
import threading
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from transformers import PreTrainedModel

P = ParamSpec("P")
R = TypeVar("R")

_locks: dict[int, threading.RLock] = {}
_guard = threading.Lock()


def lock_of(model: PreTrainedModel) -> threading.RLock:
    """The lock of a model, for `with`; who holds it may take it again.

    Models that were made of one configuration object have one lock: a packed reading switches the attention there.
    """
    config = model.config
    with _guard:
        if id(config) not in _locks:
            # Not kept on the model, which could then neither be copied nor pickled.
            _locks[id(config)] = threading.RLock()
            weakref.finalize(config, _locks.pop, id(config)).atexit = False
        return _locks[id(config)]


def alone(model_of: Callable[..., PreTrainedModel]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a function hold the lock of the model that `model_of` finds in its arguments; other threads wait."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def held(*args: P.args, **kwargs: P.kwargs) -> R:
            with lock_of(model_of(*args, **kwargs)):
                return function(*args, **kwargs)

        return held

    return wrap


#: For methods of what has a `base`.
alone_with_base = alone(lambda self, *_, **__: self.base.model)


def in_thread(thread: int) -> bool:
    """Whether the caller works for a thread: in it, or in one of autograd's, where checkpointed layers run again."""
    return threading.get_ident() == thread or torch._C._current_graph_task_id() != -1
