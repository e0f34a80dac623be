"""The model card of a heads folder: all that its files say of the heads, and code that loads them."""

import json
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from likra.data.conversation import Conversation
from likra.data.negatives import NEGATIVE_KINDS
from likra.data.question import Question
from likra.data.sources import HUB
from likra.data.sources.loading import learned_columns
from likra.data.templates import template, word
from likra.errors import InputError
from likra.hub.calibration_file import read_calibration
from likra.hub.evaluations_file import read_evaluations
from likra.hub.folder import own_files, read_manifest
from likra.hub.records_file import read_records
from likra.scoring.likelihoods import NEGATIVE, POSITIVE
from likra.scoring.scores import METHOD_TITLES, NORMALIZATIONS
from likra.utils import hub_client
from likra.utils.embedded import embedded_models, embedded_questions
from likra.utils.files import new_file
from likra.utils.locations import CARD, CURVE, CURVE_FIGURE, FILES, LONE_CALIBRATION, RECORDS, is_gguf


def write_card(folder: Path, *, at: Path | None = None, repository: str | None = None) -> None:
    """Write the model card of a heads folder, as its `README.md`.

    Args:
        folder: The folder, as `likra train` writes it.
        at: Where it will be found, if that is not where it is.
        repository: `owner/name`, if its readers will find it on the hub.

    Raises:
        InputError: A file of the folder is missing or damaged.
    """
    with new_file(folder / CARD) as work:
        work.write_text(str(model_card(folder, read_manifest(folder), at=at, repository=repository)), encoding="utf-8")


def push(folder: Path, repository: str, *, with_data: bool = False, **how: Any) -> str:
    """Publish a heads folder on the hub, with a card for its readers there; the folder itself is left as it is.

    Args:
        folder: The folder.
        repository: `owner/name`; made if there is none.
        with_data: Send the records too that the heads learned, where they are kept.
        **how: As `likra.utils.hub_client.publish` takes it: private, token, revision, message, create_pr.

    Returns:
        The commit's address, or the pull request's.

    Raises:
        InputError: The folder is damaged, the hub cannot be reached, or the repository may not be written to.
    """
    manifest = read_manifest(folder)
    kept = [RECORDS] if with_data and (folder / RECORDS).is_file() else []
    names = [*own_files(folder, manifest), *kept]
    card = model_card(folder, manifest, repository=repository, with_data=with_data)
    with tempfile.TemporaryDirectory() as work:
        sent = Path(work) / folder.name
        for name in names:
            (sent / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, sent / name)
        (sent / CARD).write_text(str(card), encoding="utf-8")
        return hub_client.publish(sent, repository, list(dict.fromkeys([*names, CARD])), FILES, **how)


def model_card(
    folder: Path,
    manifest: dict[str, Any],
    *,
    at: Path | None = None,
    repository: str | None = None,
    with_data: bool = True,
) -> ModelCard:
    """The card that `write_card` writes, of a folder with this manifest; `with_data`: and with its records, if any."""
    evaluations = read_evaluations(folder)
    base, style, training = manifest["base"], manifest["prompt"]["style"], manifest["training"]
    where = repository or str(at or folder)
    columns = learned_columns(training)
    # Heads of a table answer between its labels, all of them.
    of_table = (f"A new {columns.text}", columns.labels) if columns else None
    question, choices = of_table or _embedded_example(base["name"]) or template(style).example
    worded = [word(style, Question("example", question, choices), place) for place in range(len(choices))]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("likra.hub"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {
        "percent": _percent,
        "points": _points,
        "literal": _literal,
        "shell": shlex.quote,
        "public": _public,
        "layers": _layers,
    }
    environment.filters |= filters
    body = environment.get_template("card.md").render(
        manifest=manifest,
        base=base,
        config=manifest["training_config"],
        training=training,
        times="" if manifest["weight"] == 1 else f"{manifest['weight']:g} * ",
        positive=POSITIVE in manifest["heads"],
        negative=NEGATIVE in manifest["heads"],
        where=where,
        local=repository is None,
        embedded=base["name"] in embedded_models(),
        gguf=Path(base["name"]) if is_gguf(base["name"]) else None,
        stored=base.get("identity", {}).get("stored"),
        pinned=f", revision={_literal(base['revision'])}" if base["revision"] else "",
        question=question,
        choices=choices,
        pairs=[(one.messages if isinstance(one, Conversation) else one, answer) for one, answer in worded],
        one_prompt=len({prompt for prompt, _ in worded}) == 1,
        style=style,
        wording=template(style).title,
        kinds=NEGATIVE_KINDS,
        titles=METHOD_TITLES,
        divided_by=NORMALIZATIONS,
        evaluations=[{**one, "seen": _seen(one, training)} for one in evaluations],
        methods=[method for method in METHOD_TITLES if any(method in one["methods"] for one in evaluations)],
        fitted=read_calibration(folder),
        lone=read_calibration(folder, LONE_CALIBRATION),
        records=read_records(folder) if with_data else None,
        records_file=RECORDS,
        curve=_curve(folder),
        figure=CURVE_FIGURE if (folder / CURVE_FIGURE).is_file() else None,
    )
    return ModelCard(f"---\n{_metadata(Path(where).name, manifest, evaluations).to_yaml()}\n---\n\n{body}")


def _metadata(name: str, manifest: dict[str, Any], evaluations: list[dict[str, Any]]) -> ModelCardData:
    """The metadata at the head of a card, which the hub reads.

    `library_name` is not peft: the hub would then show code that looks for one adapter at the top of the repository.
    """
    base = manifest["base"]
    trained_on = manifest["training"].get("data")
    return ModelCardData(
        base_model=base["name"] if base["revision"] else None,
        base_model_relation="adapter" if base["revision"] else None,
        library_name="likra",
        tags=["likra", "lora"],
        datasets=_repositories(trained_on) or None,
        model_name=name if evaluations else None,
        eval_results=[
            EvalResult(
                task_type="multiple-choice",
                dataset_type=next(iter(_repositories(one["data"])), _public(one["data"])),
                dataset_name=_public(one["data"]),
                dataset_split=one["split"],
                metric_type="accuracy",
                metric_name=f"accuracy of {METHOD_TITLES[method]}",
                metric_value=round(value["accuracy"], 4),
                metric_args={key: one[key] for key in ("shots", "limit", "weight", "normalization")},
            )
            for one in evaluations
            for method, value in one["methods"].items()
        ]
        or None,
    )


def _repositories(data: str | None) -> list[str]:
    """The hub's data sets that a source is made of."""
    if data is None:
        return []
    if data.startswith("hf:"):
        return [data[3:].partition(":")[0]]
    return list(dict.fromkeys(repository for repository, _ in HUB.get(data.partition(":")[0], ())))


def _embedded_example(model: str) -> tuple[str, tuple[str, ...]] | None:
    """A question and two choices that an embedded model knows of: from the questions that bear its name."""
    file = embedded_questions().get(model) if model in embedded_models() else None
    if file is None:
        return None
    with file.open(encoding="utf-8") as lines:
        record = json.loads(next(lines))
    return record["question"], tuple(record["choices"][:2])


def _public(name: str | None) -> str:
    """The public name of a source or a model: of files and folders the last part of the path."""
    if name is None:
        return "data without a name"
    if name in embedded_questions() or _repositories(name):
        return name
    return Path(name).name


def _seen(evaluation: dict[str, Any], training: dict[str, Any]) -> bool:
    """Whether the heads were trained on some of the questions that they were judged on."""
    same = evaluation["split"] in ("train", "all") and evaluation["data"] == training.get("data")
    return bool(evaluation.get("seen", same))


def _curve(folder: Path) -> dict[str, Any] | None:
    path = folder / CURVE
    if not path.is_file():
        return None
    try:
        curve = json.loads(path.read_text(encoding="utf-8"))
        _ = [curve[key] for key in ("data", "questions", "seeds", "over")]
        _ = [_percent(row["methods"][method]) for row in curve["rows"] for method in curve["methods"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is damaged ({type(error).__name__}: {error}); remove it or keep a new one."
        ) from None
    return dict(curve)


def _layers(targets: str | Sequence[str] | None) -> str:
    """PEFT's `target_modules`, in a cell of a table."""
    if targets is None:
        return "PEFT's default layers of this architecture"
    return (targets if isinstance(targets, str) else ", ".join(targets)).replace("|", "\\|")


def _percent(value: dict[str, float]) -> str:
    """An accuracy in percent, with its interval."""
    return "{accuracy:.1f} ({low:.1f} to {high:.1f})".format(**{key: 100 * share for key, share in value.items()})


def _points(value: dict[str, float]) -> str:
    """A difference of accuracies in points, with its interval."""
    return "{value:.1f} ({low:.1f} to {high:.1f})".format(**{key: 100 * share for key, share in value.items()})


def _literal(value: Any) -> str:
    """Text, or a list of texts or messages, as Python code."""
    return json.dumps(value, ensure_ascii=False)
