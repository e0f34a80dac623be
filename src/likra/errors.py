"""The one exception that means "your input, not our code, is at fault"."""


class InputError(ValueError):
    """Input that likra cannot use.

    The message is one line that says what is wrong, where (file, line, field) and what to do about it. The command
    line prints it without a traceback and exits with code 2.
    """


#: What a CPU's allocator, CUDA, cuBLAS, cuDNN and MPS say, in small letters.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "_status_alloc_failed", "cannot allocate memory")
