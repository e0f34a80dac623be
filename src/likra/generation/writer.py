"""What two heads write together, as methods of `Likra`."""

import random
from collections.abc import Sequence
from pathlib import Path

from likra.errors import InputError
from likra.files import check_free, new_folder
from likra.generation.contrast import Contrast
from likra.generation.decoding import Decoding, as_text, generate
from likra.generation.distilling import distill
from likra.generation.text import ONE_LINE, prompt_ids, wording
from likra.heads.adapters import write_weights
from likra.heads.base import Base
from likra.heads.merging import merged
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack, HeadWeights
from likra.judge.scores import readers_of
from likra.likelihood.table import NEGATIVE, POSITIVE
from likra.progress import progress_bar
from likra.questions.sources import Source, load

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
            The texts of each prompt.

        Raises:
            InputError: A prompt is too long, or these heads do not go on with prompts.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        tokens, one_line = self._prompts(texts), self.style in ONE_LINE
        with progress_bar("Writing", "prompts", shown=progress) as move:
            written = generate(
                self.base,
                self._trained(),
                readers_of(self.heads, method),
                tokens,
                decoding or Decoding(),
                contrast,
                one_line=one_line,
                memory=memory,
                progress=lambda done: move(done, len(tokens)),
            )
        return [
            [as_text(self.base, prompt, new, one_line=one_line) for new in answers]
            for prompt, answers in zip(tokens, written, strict=True)
        ]

    def merge(self, folder: str | Path, *, contrast: Contrast | None = None) -> None:
        """Write one ordinary adapter: (1 + a) times the positive update minus a times the negative one.

        The first-order stand-in for `generate`'s combined scores; exact only where logits are linear in the weights.

        Args:
            folder: Where to; new or empty.
            contrast: a.

        Raises:
            InputError: There is no negative head, or the folder is not empty.
        """
        weights, rank = self._merged(contrast or Contrast())
        with new_folder(Path(folder)) as work:
            write_weights(work, self._trained(), weights, rank=rank, scaling=1.0)

    def _merged(self, contrast: Contrast) -> tuple[HeadWeights, int]:
        """The merged head's weights, for a scaling of 1, and its rank."""
        stack = self._trained()
        self._needs_negative("merge")
        factors = {POSITIVE: 1 + contrast.amount, NEGATIVE: -contrast.amount}
        parts = [(factors[name] * stack.scaling(name), stack.weights(name)) for name in self.heads]
        return merged(parts), sum(stack.ranks[stack.index(name)] for name in self.heads)

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
            recipe: How the adapter is trained; its rank is that of both heads together. Default: learning rate 3e-4.
            decoding: How the two heads' answers are drawn; default: four per prompt, at temperature 1.
            limit: Use only so many prompts, drawn by the recipe's seed.
            memory, progress: As in `generate`.

        Returns:
            The loss of each step: mean Kullback-Leibler divergence in nats per token.

        Raises:
            InputError: There is no negative head, there are no prompts, or the folder is not empty.
        """
        check_free(Path(folder))
        self._needs_negative("distill")
        way, recipe = contrast or Contrast(), recipe or Recipe(learning_rate=3e-4)
        source = load(data) if isinstance(data, str) else data
        prompts = self._training_prompts(source, limit, recipe.seed)
        weights, rank = self._merged(way)
        first, second = readers_of(self.heads)
        own = self._trained()
        names, own_rank = list(own.names), max(own.ranks)
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
                    decoding or Decoding(answers=4, temperature=1.0, seed=recipe.seed),
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
        return [prompt_ids(self.base.tokenizer, wording(self.style, text)) for text in texts]

    def _training_prompts(self, source: Source | Sequence[str], limit: int | None, seed: int) -> list[list[int]]:
        if not isinstance(source, Source):
            found = self._prompts(source)
        elif source.unpaired:
            texts = dict.fromkeys(example.prompt for example in source.examples.get("train", []))
            found = [prompt_ids(self.base.tokenizer, text) for text in texts]
        else:
            found = self._prompts([question.text for question in source.questions.get("train", [])])
        if not found:
            raise InputError("there are no prompts to distill on; a source needs a training split.")
        return found if limit is None or limit >= len(found) else random.Random(seed).sample(found, limit)
