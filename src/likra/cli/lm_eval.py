"""`likra lm_eval`: lm-evaluation-harness's own command line, with likra among its models."""

import importlib.util
import sys

import typer

from likra import parallel

#: How the command is registered: every option, --help too, is the harness's.
SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def lm_eval(arguments: typer.Context) -> None:
    """Run lm-evaluation-harness with `--model likra --model_args heads=DIR` (`likra lm_eval run --help`: its options).

    Every argument is handed to the harness's own command line. On several GPUs: `accelerate launch -m likra lm_eval
    ...`; each process reads its share of the requests.
    """
    if importlib.util.find_spec("lm_eval") is None:
        from likra.errors import InputError

        raise InputError("likra lm_eval needs lm-evaluation-harness: pip install 'likra[harness]'.")
    parallel.start()
    from lm_eval.__main__ import cli_evaluate

    import likra.integrations.harness  # noqa: F401  # registers the model

    sys.argv = ["lm_eval", *arguments.args]
    cli_evaluate()
