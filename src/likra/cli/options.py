"""Options that several commands share."""

import contextlib
import dataclasses
import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from likra.utils import parallel
from likra.utils.tracking import NOWHERE, Tracking

if TYPE_CHECKING:
    from likra.data.sources import Source
    from likra.hub.kept import KeptTables
    from likra.hub.saved import Saved
    from likra.likra import Likra
    from likra.models.base import Base
    from likra.scoring.config import Scoring
    from likra.utils.runtime import Runtime

DATA_HELP = (
    "Where the questions come from: a JSONL, JSON, CSV or Parquet file, a folder of them, a benchmark's name "
    "(arc-challenge, arc-easy, arc-paper, hellaswag, winogrande, truthfulqa, blimp), hf:owner/name, or world."
)
MODEL_HELP = "The base model: a hub id, a folder, a GGUF file, or `world` for the embedded one."

_LEAST_TEXT = 8  # characters that a column of text is folded to

Data = Annotated[str, typer.Option("--data", metavar="SOURCE", help=DATA_HELP, show_default=False)]
Heads = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder that `likra train` wrote, or owner/name on the Hugging Face hub.",
        show_default=False,
    ),
]
BaseModel = Annotated[
    str | None, typer.Option("--base", metavar="MODEL", help="The base model, if it has moved since the training.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the hub.")]
HeadsRevision = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of heads on the hub. [default: main]")
]
BaseRevision = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit of the base on the hub. [default: what the heads were trained on]"),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16. [default: float32 on a CPU; on a GPU the checkpoint's own; GGUF: bfloat16]"
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|float32|faithful|fast",
        help="How base and heads are read, whatever the weights are stored in. auto: the fastest way whose rounding "
        "moves the ratio by at most 5% of its spread, found by measuring. float32: in float32 throughout. "
        "faithful: the fastest way that needs no measuring. fast: half-precision products of what base and heads "
        "differ in.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1, mps; auto spreads a model over all GPUs, if there are any. "
        "[default: the first GPU, else the CPU]"
    ),
]
Quantize = Annotated[
    str | None, typer.Option(metavar="4bit|8bit", help="Load the model in 4 or 8 bits, through bitsandbytes.")
]
Memory = Annotated[
    float | None,
    typer.Option(
        metavar="GIB",
        min=0.001,
        help="GiB of memory to take beside the model. [default: a quarter of what a CPU has free, 60% of a GPU's]",
    ),
]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Let code from the model's repository run.")]
Weight = Annotated[
    float | None,
    typer.Option(help="w in L+ - w * L-. [default: the heads' own, 1.0 unless trained with another]"),
]
Norm = Annotated[
    str,
    typer.Option(
        "--normalization",
        "--normalisation",
        "--norm",
        help="Divide scores by: raw (nothing), token, character (acc_norm), byte.",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="NAME",
        help="How a question is worded. options: its choices are listed under letters, and the letter is scored. chat: "
        "a message in the tokenizer's chat template. Or qa, plain, verbatim, cloze, truthfulqa, empty. "
        "[default: the data's own; but for heads that learned options or chat, theirs]",
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="FIELD",
        help="Of a table of texts and labels: the column (or JSON field) of the text. Its labels are the choices. "
        "[default: none; for heads that learned such a table, theirs]",
    ),
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="FIELD", help="Of such a table: the column of the right label.")
]
KeepData = Annotated[
    bool,
    typer.Option(
        "--keep-data",
        help="Keep the records with the heads, those that were held out too, in DIR/records.jsonl, so that `likra "
        "teach` can learn them again and see what is lost. Whoever gets the folder gets them; `likra push` leaves them "
        "out unless told.",
    ),
]
Shots = Annotated[int, typer.Option(min=0, help="Solved training questions shown before each question.")]
SampledShots = Annotated[
    bool, typer.Option("--sampled-shots", help="Draw the shots per question, instead of the first ones for all.")
]
Method = Annotated[
    str | None,
    typer.Option(
        help="Who writes: likra (both heads), base_likra (the base against the negative head), sft (the positive head "
        "alone) or base. [default: the first that the heads allow]"
    ),
]
Contrast = Annotated[
    float, typer.Option(min=0, help="a in log p+ + a (log p+ - log p-): how much the negative head counts.")
]
Plausibility = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="Leave out tokens with less than this share of p+'s likeliest token's probability."
    ),
]
MaxTokens = Annotated[int, typer.Option(min=1, help="New tokens at most.")]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0,
        max=1,
        help="Answer only when at least so probably right; needs heads that `likra calibrate` has calibrated.",
    ),
]
ErrorBudget = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Largest share of wrong ones among the answers that are taken without a look, 0.05 say.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


def loading(
    revision: str | None,
    dtype: str | None,
    device: str | None,
    trust_remote_code: bool,
    quantize: str | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Keyword arguments of `load_base`, or of `Likra.from_pretrained`; what is not given is left to it."""
    given = {"revision": revision, "dtype": dtype, "device": device, "quantize": quantize}
    given |= {"precision": precision}
    return {key: value for key, value in given.items() if value} | {"trust_remote_code": trust_remote_code}


@dataclass(frozen=True)
class Loading:
    """How heads and their base are loaded, as the options of a command say."""

    base: str | None
    revision: str | None
    base_revision: str | None
    dtype: str | None
    device: str | None
    quantize: str | None
    precision: str
    trust_remote_code: bool

    def check(self, heads: Path, *, trained: bool = True) -> None:
        """Raise InputError, without a load of torch, where there are no such heads or no such base here.

        Args:
            heads: The heads; or, where they are yet to be trained, the base that they are trained on.
            trained: Whether they are.
        """
        from likra.utils import hub_client
        from likra.utils.locations import check_model, find_heads
        from likra.utils.precision import check_precision

        check_precision(self.precision)
        if not trained:
            check_model(str(heads))
        elif heads.exists() or not hub_client.is_id(heads.as_posix()):
            find_heads(heads, self.revision)
        if self.base is not None:
            check_model(self.base)

    def read(self, heads: Path) -> "Saved":
        """The heads as they are saved, without their base and without torch."""
        from likra.hub.saved import read_saved
        from likra.utils.locations import find_heads

        folder, _ = find_heads(heads, self.revision)
        return read_saved(folder)

    def kept_tables(self, saved: "Saved", cache: Path | None) -> "KeptTables | None":
        """The tables of these heads in the cache; None where there can be none."""
        from likra.hub.kept import KeptTables

        if cache is None or parallel.world() > 1:
            return None
        return KeptTables.of(saved, cache, self.base, self.base_revision, dataclasses.asdict(self))

    def _needs_all(self, heads: Path) -> bool:
        """Whether the base is a GGUF file, which transformers loads with packages that the quick import leaves out."""
        from likra.utils.locations import MANIFEST, find_heads, is_gguf

        folder, _ = find_heads(heads, self.revision)
        try:
            name = self.base or json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["base"]["name"]
        except (OSError, ValueError, KeyError, TypeError):
            return False  # `from_pretrained` says what is wrong with it
        return is_gguf(str(name))

    @property
    def given(self) -> dict[str, Any]:
        """`loading` of these options."""
        return loading(self.revision, self.dtype, self.device, self.trust_remote_code, self.quantize, self.precision)

    def open_base(self, name: str) -> "Base":
        """A base model, without heads."""
        from likra.models.base import load_base

        return load_base(name, **self.given)

    def open(self, heads: Path, on: "Base | None" = None) -> "Likra":
        """The heads on their base; on a base that is loaded, if that is given."""
        from likra.cli import quick

        plain = parallel.world() == 1 and not (self.quantize or self.device == "auto" or self.trust_remote_code)
        plain = plain and not self._needs_all(heads)
        if plain:
            quick.import_transformers()
        from likra.likra import Likra

        with quick.real_modules() if plain else contextlib.nullcontext():
            return Likra.from_pretrained(heads, model=on or self.base, base_revision=self.base_revision, **self.given)


_LOADING: dict[str, tuple[Any, Any]] = {
    "base": (BaseModel, None),
    "revision": (HeadsRevision, None),
    "base_revision": (BaseRevision, None),
    "dtype": (Dtype, None),
    "device": (Device, None),
    "quantize": (Quantize, None),
    "precision": (Precision, "auto"),
    "trust_remote_code": (TrustRemoteCode, False),
}


def opens_heads(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which heads and their base are loaded; it gets them as its argument `how`."""

    own = inspect.signature(command)

    @functools.wraps(command)
    def run(*arguments: Any, **given: Any) -> None:
        how = Loading(**{name: given.pop(name, default) for name, (_, default) in _LOADING.items()})
        # First of all: what a command imports may take seconds.
        asked = own.bind_partial(*arguments, **given).arguments
        if "heads" in asked:
            how.check(asked["heads"], trained=not asked.get("folds"))
        command(*arguments, **given, how=how)

    kept = [parameter for parameter in own.parameters.values() if parameter.name != "how"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _LOADING.items()
    ]
    run.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    return run


def columns(text: str | None, label: str | None) -> tuple[str, str] | None:
    """The columns that --text and --label name, if they do."""
    from likra.errors import InputError

    if text is not None and label is not None:
        return text, label
    if text is not None or label is not None:
        raise InputError("--text and --label name the two columns of a table; give both, or neither.")
    return None


def load(
    data: str,
    template: str | None = None,
    text: str | None = None,
    label: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> "Source":
    """What --data, --template, --text and --label name; `training` is that of the heads that are judged on it."""
    from likra.data.sources import load_for

    columns(text, label)
    return load_for(data, training or {}, template, text=text, label=label)


def numbers(option: str, text: str) -> tuple[int, ...]:
    """The whole numbers of an option, rising.

    Raises:
        InputError: They are none.
    """
    from likra.errors import InputError

    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InputError(f"{option} {text}: give whole numbers separated by commas.") from None


def note(text: str) -> None:
    """Tell people something beside the results, from the first process of a data parallel run."""
    if parallel.rank() == 0:
        sys.stderr.write(f"likra: note: {text}\n")


def in_bytes(memory: float | None) -> int | None:
    """What --memory means."""
    return None if memory is None else int(memory * 2**30)


def console() -> Console:
    """Where people read results: standard output, of the first process of a data parallel run."""
    return Console(highlight=False, quiet=parallel.rank() > 0)


def show_table(table: Table) -> None:
    """Print a table, however narrow the terminal: its numbers (columns on the right) whole, its text folded.

    rich would cut both with an ellipsis. Where not even folding helps, lines are longer than the terminal is wide.
    """
    out = console()
    least = 0
    for column in table.columns:
        longest = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
        if column.justify == "right" or longest <= _LEAST_TEXT:
            column.no_wrap = True
        else:
            column.overflow, column.min_width = "fold", _LEAST_TEXT
        least += (longest if column.no_wrap else _LEAST_TEXT) + 2  # and what stands between columns
    out.width = max(out.width, least)
    out.print(table)


def echo_json(value: Any) -> None:
    """Print a value as one line of JSON; with escapes where standard output is not UTF-8."""
    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(value, ensure_ascii=not wide))


def targets(text: str) -> str | list[str]:
    """`--targets` as PEFT's `target_modules`: `all-linear`, or names separated by commas."""
    return text if text == "all-linear" else [name.strip() for name in text.split(",")]


def runtime(memory: float | None, cache: bool = True, tracking: Tracking = NOWHERE) -> "Runtime":
    """What a run may take: `--memory` in GiB, and whether likelihoods are kept on disk; and where it is logged."""
    from likra.utils.runtime import Runtime

    if "tensorboard" in tracking.report_to:
        note(f"logged to {tracking.folder / tracking.about} (tensorboard --logdir {tracking.folder})")
    return Runtime(in_bytes(memory), cache, tracking=tracking)


def scoring(weight: float | None, normalization: str, min_confidence: float | None = None) -> "Scoring":
    """`--weight`, `--normalization` and `--min-confidence`, checked before a model is loaded."""
    from likra.scoring.config import Scoring

    return Scoring(weight=weight, normalization=normalization, min_confidence=min_confidence)
