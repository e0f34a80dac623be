"""`likra lm_eval`: lm-evaluation-harness's own command line, with likra among its models."""

import importlib.util
import sys

import typer

from likra.utils import parallel

#: How the command is registered: every option, --help too, is the harness's.
SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def lm_eval(arguments: typer.Context) -> None:
    """Run lm-evaluation-harness with `--model likra --model_args heads=DIR` (`likra lm_eval run --help`: its options).

    Every argument is handed to the harness's own command line. On several GPUs: `accelerate launch -m likra lm_eval
    ...`; each process reads its share of the requests.
    """
    from likra.errors import InputError

    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("likra lm_eval needs lm-evaluation-harness: pip install 'likra[harness]'.")
    parallel.start()
    from lm_eval.__main__ import cli_evaluate

    import likra.integrations.harness  # noqa: F401  # registers the model

    sys.argv = ["lm_eval", *arguments.args]
    try:
        cli_evaluate()
    except ValueError as error:  # how the harness says what is wrong with its options
        raise InputError(f"lm_eval: {error}") from None
