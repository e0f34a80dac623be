"""The one exception that means "your input, not our code, is at fault"."""


class InputError(ValueError):
    """Input that likra cannot use.

    The message is one line that says what is wrong, where (file, line, field) and what to do about it. The command
    line prints it without a traceback and exits with code 2.
    """
