"""What two heads write together, as methods of `Likra`."""

import logging
import random
from collections.abc import Sequence
from pathlib import Path

from likra.errors import InputError
from likra.files import check_free, new_folder
from likra.generation.contrast import Contrast
from likra.generation.decoding import Decoding, as_text, generate
from likra.generation.distilling import distill
from likra.generation.text import ONE_LINE, prompt_ids, wording
from likra.heads.adapters import warn_where_peft_differs, write_weights
from likra.heads.base import Base
from likra.heads.merging import contrasted
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.judge.scores import READERS, method_of
from likra.likelihood.table import NEGATIVE
from likra.progress import progress_bar
from likra.questions.sources import Source, load
from likra.reading.turns import alone_with_base

logger = logging.getLogger(__name__)

STUDENT = "distilled"


class Writer:
    """A base with heads that writes text.

    Attributes:
        base: The frozen base model.
        stack: The trained heads; None before training.
        heads: Names of the heads: `positive`, `negative`, or both.
        style: Prompt style, one of `likra.questions.STYLES`.
    """

    base: Base
    stack: HeadStack | None
    heads: tuple[str, ...]
    style: str

    @alone_with_base
    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        method: str | None = None,
        decoding: Decoding | None = None,
        contrast: Contrast | None = None,
        memory: int | None = None,
        progress: bool = True,
    ) -> list[list[str]]:
        """Write answers; each next token is scored log p+ + a (log p+ - log p-).

        Args:
            prompts: One or more questions, worded in this Likra's prompt style. Where a style's answers are one line
                (`qa`, `plain`, `truthfulqa`), they end with their first line.
            method: Who writes: `likra`, `base_likra`, `sft` or `base`; default: the first of these that the heads
                allow.
            decoding: How tokens are chosen; default: greedy.
            contrast: a, and which tokens are plausible; for two readers.
            memory: Bytes that this may take beside the model; default: a share of what is free.
            progress: Show a progress bar.

        Returns:
            The texts of each prompt; of a search with beams as many as are different.

        Raises:
            InputError: A prompt is too long, or these heads do not go on with prompts.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        tokens, one_line = self._prompts(texts), self.style in ONE_LINE
        with progress_bar("Writing", "prompts", shown=progress) as move:
            written = generate(
                self.base,
                self._trained(),
                READERS[method_of(self.heads, method)],
                tokens,
                decoding or Decoding(),
                contrast,
                one_line=one_line,
                memory=memory,
                progress=lambda done: move(done, len(tokens)),
            )
        found = [
            [as_text(self.base, prompt, new, one_line=one_line) for new in answers]
            for prompt, answers in zip(tokens, written, strict=True)
        ]
        # Beams that differ in what ends them only are one text.
        return [list(dict.fromkeys(texts)) for texts in found] if decoding and decoding.beams > 1 else found

    @alone_with_base
    def merge(self, folder: str | Path, *, contrast: Contrast | None = None) -> None:
        """Write one ordinary adapter: (1 + a) times the positive update minus a times the negative one.

        The first-order stand-in for `generate`'s combined scores; exact only where logits are linear in the weights.

        Args:
            folder: Where to; new or empty.
            contrast: a.

        Raises:
            InputError: There is no negative head, or the folder is not empty.
        """
        stack = self._trained()
        self._needs_negative("merge")
        weights, rank = contrasted(stack, READERS[method_of(self.heads)], (contrast or Contrast()).amount)
        warn_where_peft_differs(stack)
        with new_folder(Path(folder)) as work:
            write_weights(work, stack, weights, rank=rank, scaling=1.0)

    @alone_with_base
    def distill(
        self,
        data: str | Source | Sequence[str],
        folder: str | Path,
        *,
        contrast: Contrast | None = None,
        recipe: Recipe | None = None,
        decoding: Decoding | None = None,
        limit: int | None = None,
        memory: int | None = None,
        progress: bool = True,
    ) -> list[float]:
        """Train one ordinary adapter to give the two heads' combined next-token distribution; it starts as `merge`'s.

        Args:
            data: A source whose training prompts are used, or prompts.
            folder: Where the adapter goes; new or empty.
            contrast: How the two heads are combined.
            recipe: How the adapter is trained: learning rate (default 3e-4), schedule, warm-up, batch, epochs, bf16 and
                seed count. Rank, layers and activation are those of the heads, the rank of both together.
            decoding: How the two heads' answers are drawn; default: four per prompt, at temperature 1.
            limit: Use only so many prompts, drawn by the recipe's seed.
            memory: Bytes that writing the answers may take beside the model; default: a share of what is free.
            progress: Show a progress bar.

        Returns:
            The loss of each step: mean Kullback-Leibler divergence in nats per token.

        Raises:
            InputError: There is no negative head, there are no prompts, or the folder is not empty.
        """
        check_free(Path(folder))
        self._needs_negative("distill")
        way, recipe = contrast or Contrast(), recipe or Recipe(learning_rate=3e-4)
        source = load(data) if isinstance(data, str) else data
        decoding = decoding or Decoding(answers=4, temperature=1.0, seed=recipe.seed)
        prompts = self._training_prompts(source, limit, recipe.seed, self.base.max_length - decoding.max_tokens)
        own = self._trained()
        first, second = READERS[method_of(self.heads)]
        weights, rank = contrasted(own, (first, second), way.amount)
        names, own_rank = list(own.names), max(own.ranks)
        warn_where_peft_differs(own)
        self.stack = stack = own.rebuilt([*names, STUDENT], rank)
        try:
            stack.set_weights(STUDENT, weights, rank=rank, scaling=1.0)
            with progress_bar("Distilling", "", shown=progress) as move:
                losses = distill(
                    stack,
                    (first, second),
                    STUDENT,
                    prompts,
                    way,
                    recipe,
                    decoding,
                    one_line=self.style in ONE_LINE,
                    memory=memory,
                    progress=move,
                )
            with new_folder(Path(folder)) as work:
                write_weights(work, stack, stack.weights(STUDENT), rank=rank, scaling=1.0)
        finally:
            self.stack = stack.rebuilt(names, own_rank)
        return losses

    def _needs_negative(self, what: str) -> None:
        if NEGATIVE not in self.heads:
            raise InputError(f"{what}: needs a negative head; these heads are {', '.join(self.heads)}.")

    def _trained(self) -> HeadStack:
        if self.stack is None:
            raise InputError("this Likra has no heads yet; call fit, or load one with from_pretrained.")
        return self.stack

    def _prompts(self, texts: Sequence[str]) -> list[list[int]]:
        if self.style != "empty" and not all(text.strip() for text in texts):
            raise InputError("a prompt is empty; ask something.")
        return [prompt_ids(self.base, wording(self.style, text)) for text in texts]

    def _training_prompts(
        self, source: Source | Sequence[str], limit: int | None, seed: int, room: int
    ) -> list[list[int]]:
        if limit is not None and limit < 1:
            raise InputError(f"--limit {limit}: must be 1 or more.")
        if not isinstance(source, Source):
            found = self._prompts(source)
        elif source.unpaired:
            texts = dict.fromkeys(example.prompt for example in source.examples.get("train", []))
            found = [prompt_ids(self.base, text) for text in texts]
        else:
            found = self._prompts([question.text for question in source.questions.get("train", [])])
        if not found:
            raise InputError("there are no prompts to distill on; a source needs a training split.")
        if limit is not None and limit < len(found):
            found = random.Random(seed).sample(found, limit)
        if room < 1:
            raise InputError(
                f"--max-tokens: the model reads {self.base.max_length} tokens, prompt and answer together."
            )
        if cut := sum(len(prompt) > room for prompt in found):
            logger.warning("%d prompts overran the model's context; they were cut from the left", cut)
        return [prompt[-room:] for prompt in found]
