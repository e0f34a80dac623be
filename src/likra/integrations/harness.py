"""`--model likra`: lm-evaluation-harness (0.4.13) runs its multiple-choice tasks through likra's engine.

Importing this module makes `likra` one of the harness's models, for `likra lm_eval` and `lm_eval.simple_evaluate`.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import lm_eval.models  # noqa: F401  # the harness looks its own models up only while none is registered
from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import MODEL_REGISTRY, register_model

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.likra import Likra
from likra.models.thread_lock import alone
from likra.scoring.scores import READERS, method_of, ratio
from likra.utils import parallel
from likra.utils.progress import progress_bar
from likra.utils.runtime import Runtime

logger = logging.getLogger(__name__)

NAME = "likra"

_INSTEAD = "use --model hf with pretrained=BASE,peft=ADAPTER: DIR/positive, or what `likra merge` writes."


class LikraLM(LM):  # type: ignore[misc]  # the harness has no types
    """Heads as a model of lm-evaluation-harness.

    A request's score is L+ - w * L-, in nats (arXiv 2503.14391, section 2). All requests of a run are read in one call
    of the engine, each distinct token once, as many at a time as the memory allows: there is no batch size to choose.
    Tasks that choose among candidates run; a ratio has no greedy continuation, perplexity or text to generate, so tasks
    that want those are refused.

    Attributes:
        likra: The heads on their base.
        method: What is scored, one of `likra.scoring.METHOD_TITLES`.
        weight: w of the negative head.
        tokenizer: The base's tokenizer.
    """

    def __init__(
        self,
        heads: str | Path | Likra | None = None,
        *,
        weight: float | None = None,
        method: str | None = None,
        revision: str | None = None,
        base: str | None = None,
        base_revision: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        quantize: str | None = None,
        precision: str = "auto",
        trust_remote_code: bool = False,
        memory: float | None = None,
        cache: bool = True,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        """Load the heads.

        Args:
            heads: What `likra train` wrote (a folder, or `owner/name` on the hub), or a Likra in memory.
            weight: w in L+ - w * L-; default: the heads' own.
            method: `likra`, `base_likra`, `sft` or `base`; default: the first of these that the heads allow.
            revision: Branch, tag or commit of heads on the hub.
            base: The base model, if it has moved since the training.
            base_revision: Branch, tag or commit of the base; default: the one that the heads were trained on.
            dtype, precision, device, quantize, trust_remote_code: How the base is loaded, as in `load_base`; `cuda:0`
                means its default, as it does to `HFLM`: the first GPU (in a data parallel run, the process's own), else
                the CPU.
            memory: GiB that reading may take beside the model; default: a share of what is free.
            cache: Keep likelihoods on disk by content, as `likra eval` does, so that another weight runs no model.
            batch_size, max_batch_size: The harness passes them; they change nothing.
            **unknown: Refused.

        Raises:
            InputError: An argument is unknown or makes no sense, or the heads cannot be loaded.
        """
        super().__init__()
        if unknown:
            known = "heads, weight, method, revision, base, base_revision, dtype, precision, device, quantize, memory"
            known += ", cache"
            raise InputError(f"--model_args {next(iter(unknown))}: is not known to likra; it takes {known}.")
        if heads is None:
            raise InputError("--model_args: needs heads=DIR, a folder that `likra train` wrote.")
        self._memory = None if memory is None else int(_number("memory", memory) * 2**30)
        if self._memory is not None and self._memory <= 0:
            raise InputError(f"--model_args memory={memory}: must be more than 0 GiB.")
        if isinstance(heads, Likra):
            self.likra = heads
        else:
            # The harness's command line says cuda:0 where the user said nothing, on a machine without a GPU too.
            device = None if device == "cuda:0" else device
            given = {"revision": revision, "model": base, "base_revision": base_revision}
            given |= {"dtype": dtype, "device": device, "quantize": quantize, "precision": precision}
            # The harness reads a name that is a number as one.
            loading: dict[str, Any] = {key: str(value) for key, value in given.items() if value is not None}
            self.likra = Likra.from_pretrained(str(heads), trust_remote_code=bool(trust_remote_code), **loading)
        self.weight = self.likra.weight if weight is None else _number("weight", weight)
        self.method = method_of(self.likra.heads, method)
        self.tokenizer = self.likra.base.tokenizer
        self._cache = Runtime(cache=cache).cache_folder
        self._device = self.likra.base.device

    @alone(lambda self, *_, **__: self.likra.base.model)
    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """A score for each (context, continuation) that a multiple-choice task asks for.

        Args:
            requests: All of a run.
            disable_tqdm: Whether to show no progress bar.

        Returns:
            (score in nats, False) for each request. The harness asks of every candidate whether it is the greedy
            continuation; of its metrics only `exact_match` reads the answer.

        Raises:
            InputError: A task asks for the likelihood of one text, not for a choice, or a text cannot be read.
        """
        _refuse_single(requests)
        questions, places = _as_questions(requests)
        readers = READERS[self.method]
        with progress_bar("Scoring", "questions", shown=not disable_tqdm) as move:
            table = score(
                self.likra.base,
                self.likra.stack,
                questions,
                Prompter("verbatim"),
                readers,
                memory=self._memory,
                cache=self._cache,
                progress=move,
            )
        if cut := table.questions_cut:
            logger.warning("%d prompts overran the model's context; they were cut from the left", cut)
        scores_QC = table.head(readers[0])
        if len(readers) == 2:
            scores_QC = ratio(scores_QC, table.head(readers[1]), self.weight)
        return [(float(scores_QC[place]), False) for place in places]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Refused: a ratio of two heads is no probability of a text, so it has no perplexity."""
        raise InputError(f"{_tasks(requests)}: asks for perplexity, which a ratio of two heads has not; {_INSTEAD}")

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Refused: what `likra generate` writes is no continuation of greedy search under one model."""
        raise InputError(f"{_tasks(requests)}: generates text, and a ratio scores candidates only; {_INSTEAD}")

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Called by the harness's `--use_cache`, which keeps a file for each process.

        Raises:
            InputError: There are several processes, whose files may differ: they would wait for each other for ever.
        """
        if parallel.world() > 1:
            raise InputError("--use_cache: works in one process only; leave it out, likra keeps likelihoods itself.")
        super().set_cache_hook(cache_hook)

    @property
    def tokenizer_name(self) -> str:
        """Tells apart the prompts that `--cache_requests` keeps."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that `--apply_chat_template` applies, for the harness's logs.

        Raises:
            InputError: A template is asked for by name, or the tokenizer has none.
        """
        if not chat_template:
            return None
        if isinstance(chat_template, str):
            raise InputError(
                f"--apply_chat_template {chat_template}: likra applies the tokenizer's default template; give no name."
            )
        try:
            return str(self.tokenizer.get_chat_template())
        except ValueError as error:
            raise self._no_template(error) from None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the base's tokenizer words it, as `HFLM` does it.

        Raises:
            InputError: The tokenizer has no template, or it refuses the conversation.
        """
        try:
            text = self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except (ValueError, TemplateError) as error:
            raise self._no_template(error) from None
        return str(text)

    def get_model_info(self) -> dict[str, Any]:
        """What was judged, for the harness's results."""
        base = self.likra.base
        return {
            "method": self.method,
            "weight": self.weight,
            "base": base.name,
            "base_revision": base.revision,
            "base_fingerprint": base.fingerprint,
        }

    def _no_template(self, error: Exception) -> InputError:
        return InputError(
            f"--apply_chat_template: the tokenizer of {self.likra.base.name} cannot word this as a chat ({error}); "
            "leave the option out, or the system instruction that its template does not know."
        )


def register() -> None:
    """Make `likra` one of the harness's models, unless the harness has found it by its entry point."""
    if NAME not in MODEL_REGISTRY:
        register_model(NAME)(LikraLM)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"--model_args {name}={value}: must be a finite number.")
    return number


def _tasks(requests: Sequence[Instance]) -> str:
    return "--tasks " + ", ".join(sorted({str(request.task_name) for request in requests}))


def _refuse_single(requests: Sequence[Instance]) -> None:
    """Refuse tasks that ask for the likelihood of one text: multiple choice has a second request (idx 1) somewhere."""
    chosen = {request.task_name for request in requests if request.idx > 0}
    if single := [request for request in requests if request.task_name not in chosen]:
        raise InputError(
            f"{_tasks(single)}: asks how likely one text is and whether it is the greedy one, which a ratio of two "
            f"heads cannot say; {_INSTEAD}"
        )


def _as_questions(requests: Sequence[Instance]) -> tuple[list[Question], list[tuple[int, int]]]:
    """What a document asks after one context as one question; where each request stands: (question, choice).

    Documents are kept apart, even where their context is the same (none): one table row holds one document.
    """
    rows: dict[tuple[Any, Any, str], int] = {}
    columns: list[dict[str, int]] = []
    places = []
    for request in requests:
        context, continuation = request.args
        row = rows.setdefault((request.task_name, request.doc_id, context), len(rows))
        if row == len(columns):
            columns.append({})
        places.append((row, columns[row].setdefault(continuation, len(columns[row]))))
    questions = [
        Question(f"{task} {document}", context, tuple(choices))
        for (task, document, context), choices in zip(rows, columns, strict=True)
    ]
    return questions, places


register()
