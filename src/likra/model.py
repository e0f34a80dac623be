"""`Likra`: a base model with a head that learned right answers and a head that learned wrong ones."""

import dataclasses
import json
import logging
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel

from likra.card import push, write_card
from likra.errors import InputError
from likra.files import new_folder, write_json
from likra.generation.decoding import Decoding
from likra.generation.writer import Writer
from likra.heads.adapters import (
    adapter_config,
    adapter_weights,
    check_layers,
    invocation,
    read_adapter,
    warn_of_another_base,
    warn_where_peft_differs,
)
from likra.heads.base import Base, as_base, load_base
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.heads.training import CHECKPOINT_EVERY, Step, Trainer
from likra.judge.calibration import Calibration, Fitted, Sure, calibrate, check_calibration, sure
from likra.judge.evaluation import Evaluation
from likra.judge.scores import check_weight
from likra.layout import EVALUATIONS, LOSSES, find_heads
from likra.likelihood.cache import cache_folder
from likra.likelihood.engine import score
from likra.likelihood.table import BASE, NEGATIVE, POSITIVE, Likelihoods
from likra.progress import progress_bar
from likra.questions.equal import canonical, composed
from likra.questions.negatives import negatives as make_negatives
from likra.questions.negatives import positives as make_positives
from likra.questions.overlap import digest, overlaps, sketch
from likra.questions.prompts import Prompter, answer_text
from likra.questions.question import Example, Question
from likra.questions.sources import Source, load, right_answers
from likra.questions.tokens import TokenPair, common_ending
from likra.reading.turns import alone_with_base
from likra.saved import (
    check_base,
    read_evaluations,
    read_manifest,
    write_heads,
)

logger = logging.getLogger(__name__)

_NO_PROBABILITY = (
    "a min-confidence needs a probability; calibrate the heads (`likra calibrate`) at this weight, normalisation, "
    "number of shots and prompt style, and give two different candidates or more."
)

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
        probability: That it is the right one of the candidates, if one of them is; None for a lone candidate, and
            where these heads are not calibrated, or for another weight, normalisation, number of shots or prompt
            style (`Likra.calibrate`). Candidates with the same text are one, and have one probability.
    """

    text: str
    score: float
    positive: float
    negative: float | None
    base: float
    probability: float | None = None


class Likra(Writer):
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
        calibration: What turns scores into probabilities; None before `calibrate`.
        evaluations: What `likra eval --record` found of these heads.
        revision: Commit of the heads, where they were loaded from the hub.
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
        self.calibration: Fitted | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.revision: str | None = None

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
        for folder in folders.values():
            warn_of_another_base(folder, likra.base)
        likra._read(folders)
        likra.training = {"trained_elsewhere": {name: str(folder) for name, folder in folders.items()}}
        return likra

    @alone_with_base
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
        style = source.style if isinstance(source, Source) else self.style
        examples = self._examples(source, style, negatives, unrelated, limit, shots)
        pairs = {name: self._tokenize(name, examples[name]) for name in self.heads}
        training = {
            "data": source.name if isinstance(source, Source) else None,
            "negatives": negatives,
            "shots": shots,
            "limit": limit,
            "asked": self._asked(source, limit),
            "examples": {name: len(found) for name, found in pairs.items()},
            "prompts_cut": {name: sum(pair.cut > 0 for pair in found) for name, found in pairs.items()},
        }
        with progress_bar("Training", "steps", shown=progress) as move:

            def show(step: Step) -> None:
                losses = ", ".join(f"{loss:.3f}" for loss in step.losses.values())
                move(step.step, trainer.total_steps, f"(loss {losses})")

            # One stack stands on a base at a time. Should training fail, these heads stand there again as they were.
            before = self.stack.remove() if self.stack is not None else None
            stack = None
            try:
                stack = HeadStack(
                    self.base,
                    self.heads,
                    rank=self.recipe.rank,
                    alpha=self.recipe.alpha,
                    targets=self.recipe.target_names,
                    activation=self.recipe.activation,
                    invocation=common_ending(
                        self.base.tokenizer, [pair.context for found in pairs.values() for pair in found]
                    ),
                    # Two heads of one seed would start out equal; the paper's are independent adapters.
                    seeds=[2 * self.recipe.seed + (name == NEGATIVE) for name in self.heads],
                )
                trainer = Trainer(
                    stack,
                    pairs,
                    self.recipe,
                    checkpoints=state,
                    checkpoint_every=checkpoint_every,
                    memory=memory,
                    on_step=show,
                )
                losses = trainer.run()
            except BaseException:
                if stack is not None:
                    stack.remove()
                if self.stack is not None and before is not None:
                    self.stack.attach(before)
                raise
        self.style, self.training, self.losses = style, training, losses
        self.stack, self.calibration = stack, None
        self.evaluations, self.revision = [], None
        return self

    def _examples(
        self,
        source: Source | Sequence[Question] | Sequence[Example],
        style: str,
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
        prompter = Prompter(style, shots, questions)
        drawn = self._drawn(questions, limit)
        pool = unrelated if negatives == "unrelated" else right_answers(questions)
        both = {
            POSITIVE: lambda: make_positives(drawn, prompter),
            NEGATIVE: lambda: make_negatives(drawn, prompter, negatives, seed=self.recipe.seed, pool=pool),
        }
        return {head: both[head]() for head in self.heads}

    def _asked(self, source: Source | Sequence[Question] | Sequence[Example], limit: int | None) -> str:
        """A sketch of what `fit` trains on; of unpaired data, of all its right completions."""
        if isinstance(source, Source):
            source = source.examples.get("train", []) if source.unpaired else source.questions.get("train", [])
        if isinstance(source[0], Example):
            return sketch([example for example in cast(Sequence[Example], source) if example.right])
        return sketch(self._drawn(cast(Sequence[Question], source), limit))

    def _drawn(self, items: Sequence[Any], limit: int | None) -> list[Any]:
        if limit is None or limit >= len(items):
            return list(items)
        return random.Random(self.recipe.seed).sample(items, limit)

    def _tokenize(self, head: str, examples: Sequence[Example]) -> list[TokenPair]:
        pairs = []
        for index, example in enumerate(examples):
            try:
                pairs.append(self.base.encode_pair(example.prompt, composed(example.completion)))
            except InputError as error:
                name = example.where or f"training example {index + 1} of the {head} head"
                raise InputError(f"{name}: {error}") from None
        return pairs

    @alone_with_base
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
        stack = self._trained()
        prompter = prompter or Prompter(self.style)
        meta: dict[str, Any] = {"base": self.base.name, "fingerprint": self.base.fingerprint, "style": prompter.style}
        meta |= {"shots": prompter.shots}
        with progress_bar("Scoring", "questions", shown=progress) as move:
            return score(
                self.base,
                stack,
                questions,
                prompter,
                (BASE, *self.heads),
                memory=memory,
                cache=cache,
                progress=move,
                meta=meta,
            )

    @alone_with_base
    def score(
        self, question: str, choices: Sequence[str], *, normalisation: str = "raw", memory: int | None = None
    ) -> list[Candidate]:
        """Score candidate answers to one question, in the order given.

        Args:
            question: What is asked; worded in this Likra's prompt style.
            choices: The candidates, at least one.
            normalisation: One of `likra.judge.NORMALISATIONS`.
            memory: Bytes that reading may take beside the model; default: a share of what is free.

        Raises:
            InputError: There are no choices, one is empty, or one is too long for the model.
        """
        table = self.likelihoods([self.check_question(question, choices)], memory=memory)
        [candidates] = self.candidates(table, normalisation=normalisation)
        return candidates

    def check_question(self, question: str, choices: Sequence[str]) -> Question:
        """The question that `score` asks.

        Raises:
            InputError: There are no choices, one is empty, or these heads have learned to answer other questions.
        """
        if not isinstance(question, str) or isinstance(choices, str) or not all(isinstance(c, str) for c in choices):
            raise InputError("a question is a text, and its choices are a list of texts.")
        if not choices:
            raise InputError("there are no choices to score; give at least one --choice.")
        for index, choice in enumerate(choices):
            if not canonical(choice):
                raise InputError(f"choice {index + 1} is empty; give it text.")
        if self.style == "cloze" and question.count("_") != 1:
            raise InputError("these heads learned to fill in blanks; give a question with exactly one blank '_'.")
        if self.style == "empty" and question.strip():
            raise InputError("these heads learned whole sentences without a question; leave --question empty.")
        return Question("question", question, tuple(choices))

    def candidates(
        self, table: Likelihoods, *, weight: float | None = None, normalisation: str = "raw"
    ) -> list[list[Candidate]]:
        """The scored candidates of every question of a table: arithmetic, no model.

        Args:
            table: From `likelihoods`.
            weight: w; default: this Likra's own.
            normalisation: One of `likra.judge.NORMALISATIONS`.
        """
        weight = self.weight if weight is None else weight
        check_weight(weight)
        judged = self._judged(table, weight, normalisation)
        scores_QC = judged.of_candidates[judged.best]
        negative_QC = table.head(NEGATIVE) if NEGATIVE in self.heads else None
        positive_QC = table.head(POSITIVE if POSITIVE in self.heads else BASE)
        own = self.probable(weight, normalisation, table.meta.get("shots", 0), table.meta.get("style"))
        probability_QC = own.probabilities(judged.scores[judged.best]) if own else None
        return [
            [
                Candidate(
                    text=choice,
                    score=float(scores_QC[row, place]),
                    positive=float(positive_QC[row, place]),
                    negative=None if negative_QC is None else float(negative_QC[row, place]),
                    base=float(table.head(BASE)[row, place]),
                    probability=None
                    if probability_QC is None or not table.distinct_QC[row, : len(question.choices)].any()
                    else float(probability_QC[row, table.distinct_QC[row, place]]),
                )
                for place, choice in enumerate(question.choices)
            ]
            for row, question in enumerate(table.questions)
        ]

    def probable(
        self, weight: float, normalisation: str, shots: int = 0, style: str | None = None
    ) -> Calibration | None:
        """What turns scores of this weight, normalisation, number of shots and prompt style into probabilities, if
        there is one; default: the style of `score`.
        """
        own = self.calibration.calibration if self.calibration else None
        return own if own and own.of(weight, normalisation, shots, style or self.style) else None

    def sure(self, result: Evaluation, min_confidence: float | None = None) -> Sure | None:
        """What this Likra's probabilities are worth on an evaluation; None if it has none for these scores.

        Raises:
            InputError: `min_confidence` is given, and there is no probability to go by.
        """
        meta = result.likelihoods.meta
        own = self.probable(result.weight, result.normalisation, meta.get("shots", 0), meta.get("style"))
        if own is None:
            if min_confidence is not None:
                raise InputError(_NO_PROBABILITY)
            return None
        return sure(own, result.scores[result.best], result.likelihoods.answers_Q, min_confidence)

    def is_sure(self, best: Candidate, min_confidence: float | None) -> bool:
        """Whether to answer with the best candidate, or to abstain; always to answer where `min_confidence` is None.

        Raises:
            InputError: There is no probability to go by.
        """
        if min_confidence is None:
            return True
        if best.probability is None:
            raise InputError(_NO_PROBABILITY)
        return best.probability >= min_confidence

    def _judged(self, table: Likelihoods, weight: float | None, normalisation: str) -> Evaluation:
        """A table judged by the methods that these heads allow."""
        return Evaluation(
            table,
            positive=POSITIVE if POSITIVE in self.heads else None,
            negative=NEGATIVE if NEGATIVE in self.heads else None,
            weight=self.weight if weight is None else weight,
            normalisation=normalisation,
        )

    @alone_with_base
    def calibrate(
        self,
        data: str | Source | Sequence[Question],
        *,
        method: str = "temperature",
        split: str | None = None,
        shots: int = 0,
        few_shot: Sequence[Question] | None = None,
        limit: int | None = None,
        weight: float | None = None,
        normalisation: str = "raw",
        memory: int | None = None,
        cache: bool = True,
        progress: bool = True,
    ) -> Fitted:
        """Fit what turns scores into probabilities, on questions that the heads were not trained on.

        `score` and `rank` then say how probable it is that a candidate is right; `save_pretrained` keeps it.

        Args:
            data: A source's name, a loaded source, or questions with known answers.
            method: One of `likra.judge.CALIBRATIONS`.
            split: `train`, `validation`, `test` or `all`; default: validation. Where there is none, the training
                questions that `fit(limit=...)` left over.
            weight: w; default: this Likra's own. Probabilities are only given for scores of this weight.
            normalisation: One of `likra.judge.NORMALISATIONS`; likewise.
            shots, few_shot, limit, memory, cache, progress: As in `evaluate`.

        Raises:
            InputError: There are no such questions.
        """
        check_calibration(method)
        source = load(data) if isinstance(data, str) else data
        place = None
        if isinstance(source, Source):
            place = split = split or "validation"
            if split == "validation" and not source.questions.get(split) and not source.unpaired:
                source = dataclasses.replace(source, questions={**source.questions, split: self._left_over(source)})
                place = "train, what training left over"
        found = self.evaluate(
            source,
            split=split,
            shots=shots,
            few_shot=few_shot,
            limit=limit,
            weight=weight,
            normalisation=normalisation,
            memory=memory,
            cache=cache,
            progress=progress,
        )
        self.calibration = calibrate(
            found.scores[found.best],
            found.likelihoods.answers_Q,
            method,
            weight=found.weight,
            normalisation=normalisation,
            shots=shots,
            style=found.likelihoods.meta["style"],
            data=source.name if isinstance(source, Source) else None,
            split=place,
            asked=sketch(found.likelihoods.questions),
        )
        return self.calibration

    def _left_over(self, source: Source) -> list[Question]:
        """The training questions of a source that ask nothing that `fit` drew."""
        questions = source.questions.get("train", [])
        limit = self.training.get("limit")
        drawn = self._drawn(questions, limit)
        asked = {question.asked for question in drawn}
        left = [question for question in questions if question.asked not in asked]
        if "asked" in self.training:
            same = sketch(drawn) == self.training["asked"]
        else:  # heads of before it was kept
            same = self.training.get("data") == source.name
        if not left or not same:
            raise InputError(
                f"{source.name}: has no validation split, and is not the source of which these heads saw a part; name "
                "a split with --split, best not the one that is judged on (all, if none of it trained the heads)."
            )
        return left

    def remarks(self, source: Source, split: str | None = None, limit: int | None = None) -> list[str]:
        """What one must know who judges, or calibrates, these heads on the questions of a split; as in `evaluate`."""
        found = []
        if source.style != self.style:
            found.append(
                f"these heads learned prompts of the style {self.style!r}, and this data is worded in the style "
                f"{source.style!r} (`likra data` shows both)"
            )
        if "asked" in self.training:
            seen = overlaps(self.training["asked"], source.split(split)[:limit])
        else:  # heads of before it was kept
            split = split or source.default_split
            seen = split in ("train", "all") and self.training.get("data") == source.name
        if seen:
            found.append("these heads were trained on some of the questions judged here")
        return found

    @alone_with_base
    def rank(
        self, question: str, choices: Sequence[str], *, normalisation: str = "raw", memory: int | None = None
    ) -> list[Candidate]:
        """The candidates of `score`, best first."""
        found = self.score(question, choices, normalisation=normalisation, memory=memory)
        return sorted(found, key=lambda candidate: -candidate.score)

    @alone_with_base
    def pick(
        self,
        prompt: str,
        *,
        decoding: Decoding | None = None,
        normalisation: str = "raw",
        memory: int | None = None,
        progress: bool = True,
    ) -> list[Candidate]:
        """Best of n: answers drawn from the base, ranked by the ratio, best first; each different one once.

        Args:
            prompt: A question, worded in this Likra's prompt style.
            decoding: How answers are drawn; default: 16 at temperature 1.
            normalisation: One of `likra.judge.NORMALISATIONS`.
            memory, progress: As in `generate`.

        Raises:
            InputError: The base gave nothing but blank answers.
        """
        way = decoding or Decoding(answers=16, temperature=1.0)
        [texts] = self.generate(prompt, method="base", decoding=way, memory=memory, progress=progress)
        # A choice is worded with the space or line break that a style puts before it.
        choices = list(dict.fromkeys(answer_text(self.style, text) for text in texts))
        choices = [choice for choice in choices if choice.strip()]
        if not choices:
            raise InputError("the base gave blank answers only; raise --n or --temperature.")
        once: dict[str, Candidate] = {}
        for candidate in self.rank(prompt, choices, normalisation=normalisation, memory=memory):
            once.setdefault(canonical(candidate.text), candidate)
        return list(once.values())

    @alone_with_base
    def evaluate(
        self,
        data: str | Source | Sequence[Question],
        *,
        split: str | None = None,
        shots: int = 0,
        sampled_shots: bool = False,
        few_shot: Sequence[Question] | None = None,
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
            shots: Solved examples in each prompt. A question that is shown as an example is not judged.
            sampled_shots: Draw them per question, from those that are not judged, rather than take the first ones.
            few_shot: More than `shots` solved questions to take examples from; default: the source's training split.
            limit: Judge only the first so many questions.
            weight: w; default: this Likra's own.
            normalisation: One of `likra.judge.NORMALISATIONS`.
            memory: Bytes that reading may take beside the model; default: a share of what is free.
            cache: Keep likelihoods on disk by content (in `$LIKRA_CACHE`, or `~/.cache/likra`), so that a repetition,
                or another weight, runs no model.
            progress: Show a progress bar.

        Raises:
            InputError: The data has no questions to judge, or there are no examples to show.
        """
        if weight is not None:
            check_weight(weight)
        source = load(data) if isinstance(data, str) else data
        if isinstance(source, Source):
            name, style, questions, pool = source.name, source.style, source.split(split), source.questions.get("train")
        else:
            name, style, questions, pool = "a list of questions", self.style, list(source), None
        pool = list(few_shot if few_shot is not None else pool or ())
        if shots and not pool:
            raise InputError(
                f"--shots {shots}: {name} has no training split to take examples from; judge without, or in Python "
                "give solved questions as few_shot=."
            )
        if shots and not sampled_shots:
            questions = _others(questions, pool[:shots])
        questions = questions[:limit]
        if shots and sampled_shots:
            pool = _others(pool, questions)
            if not pool:
                raise InputError(
                    f"--shots {shots}: drawn examples would be questions that are judged; judge another split, or "
                    "leave out --sampled-shots."
                )
        # None of them is judged, so one that has the id of a question all the same is not that question.
        pool = [dataclasses.replace(shot, id=f"example {shot.id}") for shot in pool] if shots else []
        prompter = Prompter(style, shots, pool, sampled_shots)
        table = self.likelihoods(
            questions, prompter, memory=memory, cache=cache_folder() if cache else None, progress=progress
        )
        return self._judged(table, weight, normalisation)

    @alone_with_base
    def save_pretrained(self, folder: str | Path) -> None:
        """Write the heads in PEFT's format, one folder each, with a `likra.json` and a model card.

        Raises:
            InputError: The folder exists and is not empty.
        """
        if self.stack is None:
            raise InputError("this Likra has no heads yet; call fit before save_pretrained.")
        warn_where_peft_differs(self.stack)
        with new_folder(Path(folder)) as work:
            names = {name: name for name in self.heads}
            write_heads(
                work, self.stack, names, self.recipe, self.weight, self.style, self.training, losses=self.losses
            )
            if self.calibration:
                self.calibration.save(work)
            if self.evaluations:
                write_json(work / EVALUATIONS, self.evaluations)
            write_card(work, at=Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Save the heads to a repository of the Hugging Face hub, with a model card.

        Args:
            repo_id: `owner/name`; made if there is none.
            private: Whether a new repository is private; default: as its owner has set it.
            token: Access token; default: that of `hf auth login`, or $HF_TOKEN.
            revision: Branch to commit to, made if there is none; default: main.
            commit_message: The commit's message.
            create_pr: Open a pull request instead.

        Returns:
            The commit's address, or the pull request's.

        Raises:
            InputError: There are no heads, the hub cannot be reached, or the repository may not be written to.
        """
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "heads"
            self.save_pretrained(folder)
            return push(
                folder,
                repo_id,
                private=private,
                token=token,
                revision=revision,
                message=commit_message,
                create_pr=create_pr,
            )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        revision: str | None = None,
        model: str | Base | None = None,
        base_revision: str | None = None,
        token: str | None = None,
        **loading: Any,
    ) -> "Likra":
        """Load heads that `save_pretrained` or `push_to_hub` wrote, and their base.

        Args:
            folder: A folder, or `owner/name` on the Hugging Face hub; a folder wins.
            revision: Branch, tag or commit of heads on the hub; default: main. `Likra.revision` is the commit that it
                stands for.
            model: The base model, where it is not to be found under the name that the heads were trained with.
            base_revision: Branch, tag or commit of the base on the hub; default: the commit that the heads were trained
                on.
            token: Access token for the hub; default: that of `hf auth login`, or $HF_TOKEN.
            **loading: Passed to `load_base`.

        Raises:
            InputError: There are no such heads, a file is missing, truncated or tampered with, or the base is not the
                one the heads were trained on.
        """
        folder, commit = find_heads(folder, revision, token)
        manifest = read_manifest(folder)
        origin = manifest["base"]
        if model is None:
            base_revision = base_revision or origin["revision"]
        if isinstance(model, Base):
            base = model
        else:
            try:
                base = load_base(model or origin["name"], revision=base_revision, token=token, **loading)
            except InputError as error:
                hint = "" if model else " These heads were trained on it; if it has moved, give --base."
                raise InputError(f"{error}{hint}") from None
        check_base(folder, origin, base)
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
        likra.calibration = _with_style(Fitted.load(folder), likra)
        likra.evaluations = read_evaluations(folder)
        likra.revision = commit
        return likra

    @alone_with_base
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
            weights = adapter_weights(folder)
            check_layers(folder, weights, self.base)
            paths |= dict.fromkeys(weights)
            rank = max([rank, *(a.shape[0] for a, _ in weights.values())])
        self.stack = HeadStack(
            self.base, list(folders), rank=rank, targets=list(paths), activation=activation, invocation=wakes
        )
        try:
            for name, folder in folders.items():
                read_adapter(self.stack, name, folder)
        except BaseException:
            self.stack.remove()
            raise


def _others(questions: Sequence[Question], shown: Sequence[Question]) -> list[Question]:
    """The questions that are not among those that are shown."""
    seen = {digest(question) for question in shown}
    others = [question for question in questions if digest(question) not in seen]
    if len(others) < len(questions):
        logger.warning(
            "%d questions are examples in the prompts, and so are not judged here", len(questions) - len(others)
        )
    return others


def _with_style(fitted: Fitted | None, likra: Likra) -> Fitted | None:
    """A calibration that was saved before its style was: it is the heads' own where it was fitted to the heads' data.

    Fitted to other data, its style is not known, and it gives no probability.
    """
    if fitted is None or fitted.calibration.style is not None:
        return fitted
    if fitted.data not in (None, likra.training.get("data")):
        logger.warning(
            "the calibration does not say which prompt style it is for, so there will be no probabilities; "
            "repeat `likra calibrate`"
        )
        return fitted
    return dataclasses.replace(fitted, calibration=dataclasses.replace(fitted.calibration, style=likra.style))


def _base(model: str | Base | PreTrainedModel, tokenizer: Any, loading: dict[str, Any]) -> Base:
    if isinstance(model, str):
        return load_base(model, **loading)
    if isinstance(model, Base):
        return model
    if tokenizer is None:
        raise InputError("a model in memory needs its tokenizer: from_base(model, tokenizer).")
    return as_base(model, tokenizer)
