"""The exceptions that likra raises on purpose."""


class LikraError(Exception):
    """What likra refuses. The message is one line; the command line prints it without a traceback and exits with 2."""


class InputError(LikraError, ValueError):
    """Input that likra cannot use.

    The message says what is wrong, where (file, line, field or argument) and what to do about it.
    """


class UnknownForm(InputError):
    """A record of none of the forms of data that likra reads."""


class StateError(LikraError, RuntimeError):
    """A call that an object cannot answer in its present state, such as a score before training."""


class TrainingDiverged(InputError):
    """Training left the finite numbers; the message says what did."""


#: What a CPU's allocator, CUDA, cuBLAS, cuDNN and MPS say, in small letters.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "_status_alloc_failed", "cannot allocate memory")
