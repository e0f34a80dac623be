"""The command line: `likra`."""

import logging
import os
import sys
import warnings
from typing import NoReturn

import typer

from likra import __version__, parallel
from likra.cli import data, demo, evaluate, mine, reproduce, score, study, train, world
from likra.errors import InputError

app = typer.Typer(
    name="likra",
    help="Teach a language model from right and wrong answers, and judge new ones by their likelihood ratio.\n\n"
    "Start with `likra demo`. Then train heads on your own right and wrong answers (`likra train`), see how good they "
    "are (`likra eval`) and rank candidates with them (`likra score`). Data without wrong answers gets them from "
    "`likra mine`; `likra study` and `likra reproduce` are for experiments.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("data")(data.data)
app.command("mine")(mine.mine)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("score")(score.score)
app.add_typer(study.app, name="study")
app.command("reproduce")(reproduce.reproduce)
app.add_typer(world.app, name="world")


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"likra {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""


def main() -> None:
    """Entry point. Bad input is one line on standard error and exit code 2."""
    # Other libraries' chatter would drown ours; what they refuse is reported through InputError.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", module="peft|transformers|huggingface_hub|datasets")
    logging.basicConfig(level=logging.WARNING, format="likra: %(message)s")
    for noisy in ("huggingface_hub", "datasets", "transformers", "httpx", "urllib3", "fsspec", "bitsandbytes"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        app()
    except SystemExit as end:
        if not end.code:  # else other processes may be waiting for this one; their launcher ends them
            parallel.finish()
        raise
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'writing or reading a file'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        # torch's errors are told by name and text: this module must not load torch.
        exhausted = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not exhausted and "can't allocate memory" not in str(error):
            raise
        _fail("out of memory; use a smaller model, --dtype bfloat16, or (train) a smaller --batch-size")


def _fail(message: str) -> NoReturn:
    process = f" [process {parallel.rank()}]" if parallel.rank() else ""
    sys.stderr.write(f"likra: error:{process} {' '.join(message.split())}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
