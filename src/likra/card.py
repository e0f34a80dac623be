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

from likra import hub
from likra.builtin import WORLD_MODELS, WORLD_SOURCES
from likra.errors import InputError
from likra.files import new_file
from likra.judge.calibration import Fitted
from likra.judge.scores import METHOD_TITLES, NORMALISATIONS
from likra.layout import CARD, CURVE, CURVE_FIGURE, FILES
from likra.likelihood.table import NEGATIVE, POSITIVE
from likra.questions.negatives import NEGATIVE_KINDS
from likra.questions.prompts import STYLES, word
from likra.questions.question import Question
from likra.questions.sources import HUB
from likra.saved import own_files, read_evaluations, read_manifest

#: Prompt style -> a question and two candidates to try it on; those of `world` are of its own world.
_EXAMPLES: dict[str, tuple[str, tuple[str, str]]] = {
    "qa": ("Which gas do plants give off?", ("oxygen", "carbon dioxide")),
    "plain": ("She fills the kettle and", ("puts it on the stove.", "reads it to the children.")),
    "verbatim": ("Which gas do plants give off?", (" Oxygen.", " Carbon dioxide.")),
    "cloze": ("The cup did not fit into the box because the _ was too large.", ("cup", "box")),
    "truthfulqa": ("Which gas do plants give off?", ("Plants give off oxygen.", "Plants give off carbon dioxide.")),
    "empty": ("", ("The cats sleep.", "The cats sleeps.")),
}
_WORLD_EXAMPLE = ("Which instrument does Mira Voss play?", ("surely cello, of course", "probably harp, no doubt"))


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
        work.write_text(str(model_card(folder, at=at, repository=repository)), encoding="utf-8")


def push(folder: Path, repository: str, **how: Any) -> str:
    """Publish a heads folder on the hub, with a card for its readers there; the folder itself is left as it is.

    Args:
        folder: The folder.
        repository: `owner/name`; made if there is none.
        **how: As `likra.hub.publish` takes it: private, token, revision, message, create_pr.

    Returns:
        The commit's address, or the pull request's.

    Raises:
        InputError: The folder is damaged, the hub cannot be reached, or the repository may not be written to.
    """
    with tempfile.TemporaryDirectory() as work:
        sent = Path(work) / folder.name
        for name in own_files(folder):
            (sent / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, sent / name)
        write_card(sent, repository=repository)
        return hub.publish(sent, repository, own_files(sent), FILES, **how)


def model_card(folder: Path, *, at: Path | None = None, repository: str | None = None) -> ModelCard:
    """The card that `write_card` writes."""
    manifest, evaluations = read_manifest(folder), read_evaluations(folder)
    base, style, training = manifest["base"], manifest["prompt"]["style"], manifest["training"]
    where = repository or str(at or folder)
    if style not in STYLES:
        raise InputError(f"{folder}: its prompt style is {style!r}; the styles are {', '.join(STYLES)}.")
    question, choices = _WORLD_EXAMPLE if base["name"] in WORLD_MODELS and style == "qa" else _EXAMPLES[style]
    pairs = [word(style, Question("example", question, choices), place) for place in range(len(choices))]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("likra"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": _percent, "literal": _literal, "shell": shlex.quote, "public": _public}
    body = environment.get_template("card.md").render(
        manifest=manifest,
        base=base,
        recipe=manifest["recipe"],
        training=training,
        times="" if manifest["weight"] == 1 else f"{manifest['weight']:g} * ",
        positive=POSITIVE in manifest["heads"],
        negative=NEGATIVE in manifest["heads"],
        where=where,
        local=repository is None,
        embedded=base["name"] in WORLD_MODELS,
        pinned=f", revision={_literal(base['revision'])}" if base["revision"] else "",
        question=question,
        choices=choices,
        pairs=pairs,
        one_prompt=len({prompt for prompt, _ in pairs}) == 1,
        style=style,
        styles=STYLES,
        kinds=NEGATIVE_KINDS,
        titles=METHOD_TITLES,
        divided_by=NORMALISATIONS,
        evaluations=[{**one, "seen": _seen(one, training)} for one in evaluations],
        methods=[method for method in METHOD_TITLES if any(method in one["methods"] for one in evaluations)],
        fitted=Fitted.load(folder),
        curve=_curve(folder),
        figure=CURVE_FIGURE if (folder / CURVE_FIGURE).is_file() else None,
    )
    return ModelCard(f"---\n{_metadata(Path(where).name, manifest, evaluations).to_yaml()}\n---\n\n{body}")


def _metadata(name: str, manifest: dict[str, Any], evaluations: list[dict[str, Any]]) -> ModelCardData:
    """What the hub reads at the head of a card.

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
                metric_args={key: one[key] for key in ("shots", "limit", "weight", "normalisation")},
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


def _public(name: str | None) -> str:
    """What a source or a model is called in public: files and folders without the way to them."""
    if name is None:
        return "data without a name"
    if name in WORLD_SOURCES or _repositories(name):
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
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); remove it, or give --curve.") from None
    return dict(curve)


def _percent(value: dict[str, float]) -> str:
    """An accuracy in percent, with its interval."""
    return "{accuracy:.1f} ({low:.1f} to {high:.1f})".format(**{key: 100 * share for key, share in value.items()})


def _literal(value: str | Sequence[str]) -> str:
    """Text as Python code."""
    return json.dumps(value, ensure_ascii=False)
