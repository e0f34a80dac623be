"""`Likra`: a base model with a head that learned right answers and a head that learned wrong ones."""

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel

from likra import __version__
from likra.errors import InputError
from likra.files import new_folder, sha256
from likra.heads.adapters import (
    CONFIG,
    WEIGHTS,
    adapter_config,
    adapter_weights,
    invocation,
    read_adapter,
    write_adapter,
)
from likra.heads.base import Base, as_base, load_base
from likra.heads.recipe import Recipe
from likra.heads.stack import ALL_LINEAR, HeadStack, target_paths
from likra.heads.training import CHECKPOINT_EVERY, Step, Trainer
from likra.judge.evaluation import Evaluation
from likra.judge.scores import check_weight, normalise, ratio
from likra.likelihood.cache import cache_folder
from likra.likelihood.engine import score
from likra.likelihood.table import BASE, Likelihoods
from likra.progress import progress_bar
from likra.questions.negatives import negatives as make_negatives
from likra.questions.negatives import positives as make_positives
from likra.questions.prompts import Prompter
from likra.questions.question import Example, Question
from likra.questions.sources import Source, load, right_answers
from likra.questions.tokens import TokenPair, common_ending, encode_pair

logger = logging.getLogger(__name__)

POSITIVE, NEGATIVE = "positive", "negative"
MANIFEST, LOSSES = "likra.json", "losses.jsonl"

#: role -> the heads it trains.
ROLES: dict[str, tuple[str, ...]] = {
    "sft-likra": (POSITIVE, NEGATIVE),
    "base-likra": (NEGATIVE,),
    "sft": (POSITIVE,),
}


@dataclass(frozen=True)
class Candidate:
    """One scored candidate; log-likelihoods in nats, summed over the candidate's tokens.

    Attributes:
        text: The candidate.
        score: What candidates are ranked by: (L+ - w * L-), divided by length if a normalisation was asked for.
        positive: L+: log-likelihood under the positive head (under the base for Base-Likra).
        negative: L-: log-likelihood under the negative head, None for SFT.
        base: Log-likelihood under the untrained base.
    """

    text: str
    score: float
    positive: float
    negative: float | None
    base: float


class Likra:
    """A scorer of answers that learns from right and from wrong ones (arXiv 2503.14391).

    Make one with `from_base` and `fit` it, or load one with `from_pretrained`.

    Attributes:
        base: The frozen base model.
        stack: The trained heads; None before `fit`.
        heads: Names of the heads: `positive`, `negative`, or both.
        weight: w in L+ - w * L-.
        style: Prompt style, one of `likra.questions.STYLES`.
        recipe: How the heads are trained.
        training: What they were trained on.
        losses: The optimisation steps of the last `fit`.
    """

    def __init__(self, base: Base, heads: Sequence[str], recipe: Recipe, *, weight: float, style: str) -> None:
        check_weight(weight)
        self.base = base
        self.heads = tuple(heads)
        self.recipe = recipe
        self.weight = weight
        self.style = style
        self.stack: HeadStack | None = None
        self.training: dict[str, Any] = {}
        self.losses: list[Step] = []

    @classmethod
    def from_base(
        cls,
        model: str | Base | PreTrainedModel,
        tokenizer: Any = None,
        *,
        role: str = "sft-likra",
        recipe: Recipe | None = None,
        weight: float = 1.0,
        style: str = "qa",
        **loading: Any,
    ) -> "Likra":
        """An untrained Likra.

        Args:
            model: A hub id, a folder, `world`, or a causal language model in memory (which is frozen in place).
            tokenizer: Needed with a model in memory, and only then.
            role: `sft-likra` (both heads), `base-likra` (no positive head: the base takes its place), `sft` (no
                negative head).
            recipe: How to train; default: the paper's recipe.
            weight: w in L+ - w * L-.
            style: Prompt style of `score` and `rank`; `fit` takes over that of its data.
            **loading: Passed to `load_base` (revision, dtype, device, quantize, trust_remote_code).

        Raises:
            InputError: The model cannot be loaded, or the role is unknown.
        """
        if role not in ROLES:
            raise InputError(f"--role {role}: must be one of {', '.join(ROLES)}.")
        return cls(_base(model, tokenizer, loading), ROLES[role], recipe or Recipe(), weight=weight, style=style)

    @classmethod
    def from_adapters(
        cls,
        model: str | Base | PreTrainedModel,
        tokenizer: Any = None,
        *,
        positive: str | Path | None = None,
        negative: str | Path | None = None,
        weight: float = 1.0,
        style: str = "qa",
        **loading: Any,
    ) -> "Likra":
        """A Likra from PEFT LoRA adapters that were trained elsewhere.

        Args:
            model, tokenizer, weight, style, **loading: As in `from_base`.
            positive: Folder of the adapter trained on right answers, if there is one.
            negative: Folder of the adapter trained on wrong answers, if there is one.

        Raises:
            InputError: No adapter is given, or one is damaged or does not fit the base.
        """
        folders = {name: Path(folder) for name, folder in ((POSITIVE, positive), (NEGATIVE, negative)) if folder}
        if not folders:
            raise InputError("from_adapters needs a positive or a negative adapter, or both.")
        likra = cls(_base(model, tokenizer, loading), tuple(folders), Recipe(), weight=weight, style=style)
        likra._read(folders)
        likra.training = {"trained_elsewhere": {name: str(folder) for name, folder in folders.items()}}
        return likra

    def fit(
        self,
        data: str | Source | Sequence[Question] | Sequence[Example],
        *,
        negatives: str = "incorrect",
        unrelated: Sequence[str] = (),
        limit: int | None = None,
        shots: int = 0,
        state: Path | None = None,
        checkpoint_every: int = CHECKPOINT_EVERY,
        memory: int | None = None,
        progress: bool = True,
    ) -> "Likra":
        """Train the heads.

        Args:
            data: A source's name, a loaded source (its training split is used), questions, or unpaired examples.
            negatives: Kind of negatives, one of `likra.questions.NEGATIVE_KINDS`.
            unrelated: Answers for `negatives="unrelated"`.
            limit: Use only so many training questions (of unpaired data: examples of each label), drawn by the
                recipe's seed.
            shots: Solved examples in each training prompt.
            state: Folder in which the state of the run is kept, so that a killed run goes on from it. Remove it once
                the heads are saved.
            checkpoint_every: Optimisation steps between two states.
            memory: Bytes that training may take beside the model; default: a share of what is free.
            progress: Show a progress bar.

        Returns:
            This Likra.

        Raises:
            InputError: The data cannot train these heads, or a loss is not finite.
        """
        source = load(data) if isinstance(data, str) else data
        if isinstance(source, Source):
            self.style = source.style
        examples = self._examples(source, negatives, unrelated, limit, shots)
        pairs = {name: self._tokenize(name, examples[name]) for name in self.heads}
        if self.stack is not None:
            self.stack.remove()
            self.stack = None
        stack = HeadStack(
            self.base,
            self.heads,
            rank=self.recipe.rank,
            alpha=self.recipe.alpha,
            targets=self.recipe.target_names,
            activation=self.recipe.activation,
            invocation=common_ending(self.base.tokenizer, [pair.context for found in pairs.values() for pair in found]),
            # Two heads of one seed would start out equal; the paper's are independent adapters.
            seeds=[2 * self.recipe.seed + (name == NEGATIVE) for name in self.heads],
        )
        self.training = {
            "data": source.name if isinstance(source, Source) else None,
            "negatives": negatives,
            "shots": shots,
            "examples": {name: len(found) for name, found in pairs.items()},
            "prompts_cut": {name: sum(pair.cut > 0 for pair in found) for name, found in pairs.items()},
        }
        with progress_bar("Training", "steps", shown=progress) as move:

            def show(step: Step) -> None:
                losses = ", ".join(f"{loss:.3f}" for loss in step.losses.values())
                move(step.step, trainer.total_steps, f"(loss {losses})")

            try:
                trainer = Trainer(
                    stack,
                    pairs,
                    self.recipe,
                    checkpoints=state,
                    checkpoint_every=checkpoint_every,
                    memory=memory,
                    on_step=show,
                )
                self.losses = trainer.run()
            except BaseException:
                stack.remove()
                raise
        self.stack = stack
        return self

    def _examples(
        self,
        source: Source | Sequence[Question] | Sequence[Example],
        negatives: str,
        unrelated: Sequence[str],
        limit: int | None,
        shots: int,
    ) -> dict[str, list[Example]]:
        if limit is not None and limit < 1:
            raise InputError(f"--limit {limit}: must be 1 or more.")
        name = source.name if isinstance(source, Source) else "the data"
        if isinstance(source, Source):
            items: Sequence[Question] | Sequence[Example] = (
                source.examples.get("train", []) if source.unpaired else source.questions.get("train", [])
            )
        else:
            items = source
        if not items:
            raise InputError(f"{name}: has nothing to train on; a source needs a training split.")
        if isinstance(items[0], Example):
            if shots:
                raise InputError("--shots: unpaired data has no solved questions to show; leave --shots at 0.")
            examples = cast(Sequence[Example], items)
            sides = {POSITIVE: [e for e in examples if e.right], NEGATIVE: [e for e in examples if not e.right]}
            for head in self.heads:
                if not sides[head]:
                    raise InputError(
                        f"{name}: has no {'right' if head == POSITIVE else 'wrong'} completions (field "
                        f"'label') to train the {head} head on; add some or choose another --role."
                    )
            return {head: self._drawn(sides[head], limit) for head in self.heads}
        questions = cast(list[Question], list(items))
        prompter = Prompter(self.style, shots, questions)
        drawn = self._drawn(questions, limit)
        pool = unrelated if negatives == "unrelated" else right_answers(questions)
        both = {
            POSITIVE: lambda: make_positives(drawn, prompter),
            NEGATIVE: lambda: make_negatives(drawn, prompter, negatives, seed=self.recipe.seed, pool=pool),
        }
        return {head: both[head]() for head in self.heads}

    def _drawn(self, items: Sequence[Any], limit: int | None) -> list[Any]:
        if limit is None or limit >= len(items):
            return list(items)
        return random.Random(self.recipe.seed).sample(items, limit)

    def _tokenize(self, head: str, examples: Sequence[Example]) -> list[TokenPair]:
        pairs = []
        for index, example in enumerate(examples):
            try:
                pairs.append(encode_pair(self.base.tokenizer, example.prompt, example.completion, self.base.max_length))
            except InputError as error:
                raise InputError(f"training example {index + 1} of the {head} head: {error}") from None
        return pairs

    def likelihoods(
        self,
        questions: Sequence[Question],
        prompter: Prompter | None = None,
        *,
        memory: int | None = None,
        cache: Path | None = None,
        progress: bool = False,
    ) -> Likelihoods:
        """The table of base and heads on some questions; every score and accuracy is arithmetic on it.

        Args:
            questions: The questions.
            prompter: Words them; default: this Likra's own style, without examples.
            memory: Bytes that reading may take beside the model; default: a share of what is free.
            cache: Folder in which likelihoods are kept by content, so that a repetition runs no model.
            progress: Show a progress bar.
        """
        if self.stack is None:
            raise InputError("this Likra has no heads yet; call fit, or load one with from_pretrained.")
        prompter = prompter or Prompter(self.style)
        meta: dict[str, Any] = {"base": self.base.name, "fingerprint": self.base.fingerprint, "style": prompter.style}
        meta |= {"shots": prompter.shots}
        with progress_bar("Scoring", "questions", shown=progress) as move:
            return score(
                self.base,
                self.stack,
                questions,
                prompter,
                (BASE, *self.heads),
                memory=memory,
                cache=cache,
                progress=move,
                meta=meta,
            )

    def score(self, question: str, choices: Sequence[str], *, normalisation: str = "raw") -> list[Candidate]:
        """Score candidate answers to one question, in the order given.

        Args:
            question: What is asked; worded in this Likra's prompt style.
            choices: The candidates, at least one.
            normalisation: One of `likra.judge.NORMALISATIONS`.

        Raises:
            InputError: There are no choices, one is empty, or one is too long for the model.
        """
        if not choices:
            raise InputError("there are no choices to score; give at least one --choice.")
        for index, choice in enumerate(choices):
            if not choice.strip():
                raise InputError(f"choice {index + 1} is empty; give it text.")
        check_weight(self.weight)
        if self.style == "cloze" and question.count("_") != 1:
            raise InputError("these heads learned to fill in blanks; give a question with exactly one blank '_'.")
        if self.style == "empty" and question.strip():
            raise InputError("these heads learned whole sentences without a question; leave --question empty.")
        table = self.likelihoods([Question("question", question, tuple(choices))])
        base = table.head(BASE)
        positive = table.head(POSITIVE) if POSITIVE in self.heads else base
        negative = table.head(NEGATIVE) if NEGATIVE in self.heads else None
        scores = positive if negative is None else ratio(positive, negative, self.weight)
        scores = normalise(scores, table, normalisation)
        return [
            Candidate(
                text=choice,
                score=float(scores[0, place]),
                positive=float(positive[0, place]),
                negative=None if negative is None else float(negative[0, place]),
                base=float(base[0, place]),
            )
            for place, choice in enumerate(choices)
        ]

    def rank(self, question: str, choices: Sequence[str], *, normalisation: str = "raw") -> list[Candidate]:
        """The candidates of `score`, best first."""
        return sorted(self.score(question, choices, normalisation=normalisation), key=lambda c: -c.score)

    def evaluate(
        self,
        data: str | Source | Sequence[Question],
        *,
        split: str | None = None,
        shots: int = 0,
        sampled_shots: bool = False,
        limit: int | None = None,
        weight: float | None = None,
        normalisation: str = "raw",
        memory: int | None = None,
        cache: bool = True,
        progress: bool = True,
    ) -> Evaluation:
        """Accuracy of base, SFT, Base-Likra and Likra (those that the heads allow) on questions with known answers.

        Args:
            data: A source's name, a loaded source, or questions.
            split: `train`, `validation`, `test` or `all`; default: test, or validation where there is no test.
            shots: Solved examples in each prompt, from the source's training split.
            sampled_shots: Draw them per question rather than take the first ones.
            limit: Judge only the first so many questions.
            weight: w; default: this Likra's own.
            normalisation: One of `likra.judge.NORMALISATIONS`.
            memory: Bytes that reading may take beside the model; default: a share of what is free.
            cache: Keep likelihoods on disk by content (in `$LIKRA_CACHE`, or `~/.cache/likra`), so that a repetition,
                or another weight, runs no model.
            progress: Show a progress bar.

        Raises:
            InputError: The data has no questions to judge.
        """
        if weight is not None:
            check_weight(weight)
        source = load(data) if isinstance(data, str) else data
        if isinstance(source, Source):
            questions = source.split(split)
            pool = source.questions.get("train", [])
            if shots and not pool:
                raise InputError(f"--shots {shots}: {source.name} has no training split to take examples from.")
            prompter = Prompter(source.style, shots, pool, sampled_shots)
        else:
            questions = list(source)
            prompter = Prompter(self.style, shots, questions, sampled_shots)
        if limit is not None:
            questions = questions[:limit]
        table = self.likelihoods(
            questions, prompter, memory=memory, cache=cache_folder() if cache else None, progress=progress
        )
        return Evaluation(
            table,
            positive=POSITIVE if POSITIVE in self.heads else None,
            negative=NEGATIVE if NEGATIVE in self.heads else None,
            weight=self.weight if weight is None else weight,
            normalisation=normalisation,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the heads in PEFT's format, one folder each, with a `likra.json`.

        Raises:
            InputError: The folder exists and is not empty.
        """
        if self.stack is None:
            raise InputError("this Likra has no heads yet; call fit before save_pretrained.")
        if self.stack.activation == "answer" and not self.stack.invocation:
            logger.warning(
                "the training prompts do not all end in the same tokens, which is how PEFT could tell where an answer "
                "begins; it will apply these heads to prompts too and score otherwise; likra will not"
            )
        with new_folder(Path(folder)) as work:
            names = {name: name for name in self.heads}
            write_heads(
                work, self.stack, names, self.recipe, self.weight, self.style, self.training, losses=self.losses
            )

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, model: str | Base | None = None, **loading: Any) -> "Likra":
        """Load heads that `save_pretrained` wrote, and their base.

        Args:
            folder: The folder.
            model: The base model, where it is not to be found under the name that the heads were trained with.
            **loading: Passed to `load_base`.

        Raises:
            InputError: A file is missing, truncated or tampered with, or the base is not the one the heads were
                trained on.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        origin = manifest["base"]
        if model is None:
            loading.setdefault("revision", origin["revision"])
        base = model if isinstance(model, Base) else load_base(model or origin["name"], **loading)
        if base.fingerprint != origin["fingerprint"]:
            raise InputError(
                f"{folder}: its heads were trained on {origin['name']}"
                f"{' at ' + origin['revision'] if origin['revision'] else ''}, but {base.name} differs from it in "
                "shape or weights; load the base (revision, --quantize) that the heads were trained on."
            )
        likra = cls(
            base,
            tuple(manifest["heads"]),
            Recipe(**manifest["recipe"]),
            weight=manifest["weight"],
            style=manifest["prompt"]["style"],
        )
        folders = {name: folder / where for name, where in manifest["heads"].items()}
        likra._read(folders, manifest["activation"], tuple(manifest.get("invocation", ())))
        likra.training = manifest["training"]
        likra.losses = [Step(**json.loads(line)) for line in (folder / LOSSES).read_text(encoding="utf-8").splitlines()]
        return likra

    def _read(self, folders: dict[str, Path], activation: str = "everywhere", wakes: tuple[int, ...] = ()) -> None:
        """Load adapters into a new stack that is as wide as they need."""
        found = {invocation(adapter_config(folder)) for folder in folders.values()}
        if len(found) > 1:
            raise InputError(
                f"{', '.join(map(str, folders.values()))}: the adapters are not woken by the same tokens "
                "(alora_invocation_tokens); train them alike."
            )
        if () not in found:
            activation, [wakes] = "answer", found
        paths: dict[str, None] = {}
        rank = 1
        for folder in folders.values():
            for path, (a, _) in adapter_weights(folder).items():
                paths[path] = None
                rank = max(rank, a.shape[0])
        known = set(target_paths(self.base.model, ALL_LINEAR))
        if lacking := [path for path in paths if path not in known and f"{path}.base" not in known]:
            raise InputError(
                f"{', '.join(map(str, folders.values()))}: adapts {lacking[0]}, which {self.base.name} lacks; it was "
                "trained on another base."
            )
        self.stack = HeadStack(
            self.base, list(folders), rank=rank, targets=list(paths), activation=activation, invocation=wakes
        )
        try:
            for name, folder in folders.items():
                read_adapter(self.stack, name, folder)
        except BaseException:
            self.stack.remove()
            raise


def write_heads(
    folder: Path,
    stack: HeadStack,
    names: Mapping[str, str],
    recipe: Recipe,
    weight: float,
    style: str,
    training: dict[str, Any],
    losses: Sequence[Step] = (),
) -> None:
    """Write heads of a stack as `Likra.from_pretrained` reads them.

    Args:
        folder: Where to; new or empty.
        stack: The stack.
        names: role (`positive`, `negative`) -> name of its head in the stack.
        recipe, weight, style, training, losses: As `Likra` has them.
    """
    for role, name in names.items():
        write_adapter(stack, name, folder / role)
    with (folder / LOSSES).open("w", encoding="utf-8") as log:
        log.writelines(f"{step.as_json()}\n" for step in losses)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    base = stack.base
    manifest = {
        "likra": __version__,
        "base": {"name": base.name, "revision": base.revision, "fingerprint": base.fingerprint},
        "heads": {role: role for role in names},
        "weight": weight,
        "prompt": {"style": style},
        "activation": stack.activation,
        "invocation": list(stack.invocation),
        "recipe": recipe.as_dict(),
        "training": training,
        "files": {str(path.relative_to(folder)): sha256(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `likra.json` of a heads folder, once every file that it lists has been checked.

    Raises:
        InputError: The folder or a file is missing, or a file is not what was written.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `likra train` writes one.")
    if not path.exists():
        raise InputError(f"{path}: is missing, so {folder} is no heads folder; `likra train` writes one.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files, heads = dict(manifest["files"]), dict(manifest["heads"])
        Recipe(**manifest["recipe"])
        check_weight(manifest["weight"])
        _ = [manifest["base"][key] for key in ("name", "revision", "fingerprint")]
        _ = manifest["prompt"]["style"], manifest["training"], manifest["activation"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); copy the folder again.") from None
    needed = {f"{where}/{file}" for where in heads.values() for file in (CONFIG, WEIGHTS)} | {LOSSES}
    for name in sorted(needed | set(files)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing; copy the whole folder again.")
        if sha256(folder / name) != files.get(name):
            raise InputError(
                f"{folder / name}: is not the file that was saved (truncated or changed); copy the folder again."
            )
    return cast(dict[str, Any], manifest)


def _base(model: str | Base | PreTrainedModel, tokenizer: Any, loading: dict[str, Any]) -> Base:
    if isinstance(model, str):
        return load_base(model, **loading)
    if isinstance(model, Base):
        return model
    if tokenizer is None:
        raise InputError("a model in memory needs its tokenizer: from_base(model, tokenizer).")
    return as_base(model, tokenizer)
