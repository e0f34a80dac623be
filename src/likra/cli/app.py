"""The command line: `likra`."""

import atexit
import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from typing import Any, NoReturn

import typer

from likra import __version__
from likra.cli import (
    calibrate,
    check,
    data,
    demo,
    evaluate,
    generate,
    lm_eval,
    merge,
    mine,
    pick,
    push,
    reproduce,
    score,
    serve,
    study,
    teach,
    train,
    tune,
    world,
)
from likra.cli.flags import in_flags
from likra.errors import OUT_OF_MEMORY, LikraError
from likra.utils import parallel
from likra.utils.files import refusal

app = typer.Typer(
    name="likra",
    help="Teach a language model from right and wrong answers, and judge new ones by their likelihood ratio.\n\n"
    "Start with `likra demo`. Then train heads on your own right and wrong answers (`likra train`), see how good they "
    "are (`likra eval`) and rank candidates with them (`likra score`). Data without wrong answers gets them from "
    "`likra mine`; `likra serve` answers over HTTP; `likra study` and `likra reproduce` are for experiments.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_TEACH, _USE, _SHARE, _STUDY = "Teach", "Ask", "Share", "Study"
app.command("demo", rich_help_panel=_TEACH)(demo.demo)
app.command("data", rich_help_panel=_TEACH)(data.data)
app.command("mine", rich_help_panel=_TEACH)(mine.mine)
app.command("train", rich_help_panel=_TEACH)(train.train)
app.command("tune", rich_help_panel=_TEACH)(tune.tune)
app.command("teach", rich_help_panel=_TEACH)(teach.teach)
app.command("eval", rich_help_panel=_USE)(evaluate.evaluate)
app.command("calibrate", rich_help_panel=_USE)(calibrate.calibrate)
app.command("check", rich_help_panel=_USE)(check.check)
app.command("score", rich_help_panel=_USE)(score.score)
app.command("pick", rich_help_panel=_USE)(pick.pick)
app.command("generate", rich_help_panel=_USE)(generate.generate)
app.command("serve", rich_help_panel=_SHARE)(serve.serve)
app.command("push", rich_help_panel=_SHARE)(push.push)
app.command("merge", rich_help_panel=_SHARE)(merge.merge)
app.command("distill", rich_help_panel=_SHARE)(merge.distill)
app.command("lm_eval", context_settings=lm_eval.SETTINGS, rich_help_panel=_STUDY)(lm_eval.lm_eval)
app.add_typer(study.app, name="study", rich_help_panel=_STUDY)
app.command("reproduce", rich_help_panel=_STUDY)(reproduce.reproduce)
app.add_typer(world.app, name="world", rich_help_panel=_STUDY)


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
    # oneDNN and its wrapper in torch each keep compiled products for 1,024 shapes, some 200 MiB where every batch has
    # shapes of its own (a file of questions, a server); a batch has only a few dozen.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")
    warnings.filterwarnings("ignore", module="peft|transformers|huggingface_hub|datasets")
    logging.basicConfig(level=logging.WARNING, format="likra: %(message)s")
    for noisy in ("huggingface_hub", "datasets", "transformers", "httpx", "urllib3", "fsspec", "bitsandbytes"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        # A console or pipe that is not UTF-8 gets escapes for what it cannot show, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        if not end.code:  # else other processes may be waiting for this one; their launcher ends them
            parallel.finish()
        raise
    except LikraError as error:
        _fail(in_flags(str(error)))
    except OSError as error:
        _fail(f"{error.filename or 'writing or reading a file'}: {error.strerror or error}")
    except Exception as error:
        # safetensors and pyarrow raise errors of their own for what the system refuses, a full disk say.
        if reason := refusal(error):
            _fail(f"writing or reading a file: {reason}")
        if not isinstance(error, MemoryError | RuntimeError):
            raise
        # torch's errors are told by name and text: this module must not load torch.
        exhausted = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not exhausted and not any(text in str(error).lower() for text in OUT_OF_MEMORY):
            raise
        _fail("out of memory; use a smaller model, --dtype bfloat16, or (train) a smaller --batch-size")


def run() -> None:
    """`main` as a process of its own, whose end does not take down every module of torch one by one."""
    try:
        main()
        code: Any = 0
    except SystemExit as end:
        code = end.code or 0
    if not isinstance(code, int) or any(not one.daemon for one in threading.enumerate()[1:]):
        sys.exit(code)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):  # a closed pipe, which the usual end reports
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _fail(message: str) -> NoReturn:
    process = f" [process {parallel.rank()}]" if parallel.rank() else ""
    sys.stderr.write(f"likra: error:{process} {' '.join(message.split())}\n")
    sys.exit(2)


if __name__ == "__main__":
    run()
