"""What adapters learn by: each loss is a small class, and the trainer takes any object like them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from likra.data.tokens import TokenizedExample, TokenizedQuestion
from likra.engine import kernels
from likra.engine.batch import Batch, Predictions, at_least_float
from likra.engine.reader import Reader
from likra.engine.transfer import sent

_VALUES = 2**24  # of a distribution over the vocabulary that a distillation holds at once, in float32


class Loss(Protocol):
    """What one adapter minimises: a sum over examples, of which the trainer takes the mean over predicted tokens."""

    @property
    def whole_text(self) -> bool:
        """Whether the contexts' tokens are predicted too, or those of the completions only."""

    def __call__(self, predictions: Predictions) -> torch.Tensor:
        """The loss of some examples, summed: a scalar with a gradient, in nats."""


@runtime_checkable
class JointLoss(Protocol):
    """What several adapters minimise together: a sum over questions, of which the trainer takes the mean.

    All of them read the same candidates of the same questions, in one forward pass.
    """

    @property
    def adapters(self) -> tuple[str, ...]:
        """Their names."""

    def __call__(self, predictions: Sequence[Predictions], questions: Sequence[TokenizedQuestion]) -> torch.Tensor:
        """The loss of some questions, summed: a scalar with a gradient, in nats.

        Args:
            predictions: What each adapter says of all candidates, question after question.
            questions: The questions.
        """


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood, -log p."""

    whole_text: bool = False

    def __call__(self, predictions: Predictions) -> torch.Tensor:
        return summed(-predictions.logprob_M)


@dataclass(frozen=True)
class Wrong(TokenizedExample):
    """An example whose completion `Unlikelihood` makes unlikely."""

    @classmethod
    def of(cls, pair: TokenizedExample) -> "Wrong":
        return cls(pair.context, pair.completion, pair.cut)


@dataclass(frozen=True)
class Unlikelihood:
    """-log p of examples, and -log(1 - p) of those that are `Wrong` (Welleck et al. 2020, arXiv 1908.04319)."""

    whole_text: bool = False

    def __call__(self, predictions: Predictions) -> torch.Tensor:
        logprob_M = predictions.logprob_M
        wrong = torch.tensor([isinstance(pair, Wrong) for pair in predictions.batch.examples])
        [wrong_M] = sent(logprob_M.device, [wrong[predictions.batch.example_M]])
        unlikely_M = -torch.log(-torch.expm1(logprob_M.clamp(max=-1e-6)))  # finite even where p rounds to 1
        return summed(torch.where(wrong_M, unlikely_M, -logprob_M))


@dataclass(frozen=True)
class Choice:
    """-log of the softmax, over a question's candidates, of L+ - w L- at the right one; a `JointLoss`.

    (McFadden 1974, "Conditional logit analysis of qualitative choice behavior".) L is the summed log-likelihood of a
    candidate's tokens, under the adapter `positive` and under `negative`. Without a negative one it is the softmax of
    L+ alone.

    Attributes:
        positive, negative: Names of the adapters.
        weight: w.
    """

    positive: str
    negative: str | None = None
    weight: float = 1.0

    @property
    def adapters(self) -> tuple[str, ...]:
        return (self.positive,) if self.negative is None else (self.positive, self.negative)

    def __call__(self, predictions: Sequence[Predictions], questions: Sequence[TokenizedQuestion]) -> torch.Tensor:
        """As `JointLoss`. E: all candidates; Q: questions; C: candidates of the one that has most."""
        places = [(row, place) for row, question in enumerate(questions) for place in range(len(question.candidates))]
        most = max(place for _, place in places) + 1
        at, right = [row * most + place for row, place in places], [question.right for question in questions]
        at_E, right_Q = sent(predictions[0].row_M.device, [torch.tensor(at), torch.tensor(right)])
        likely_AE = [_of_examples(one, len(at)) for one in predictions]
        score_E = likely_AE[0] if self.negative is None else likely_AE[0] - self.weight * likely_AE[1]
        # Where a question has fewer candidates: -inf, of which the softmax is 0.
        score_QC = score_E.new_full((len(questions) * most,), -torch.inf).index_put((at_E,), score_E).view(-1, most)
        return summed(-score_QC.log_softmax(-1).gather(1, right_Q[:, None])[:, 0])


def _of_examples(predictions: Predictions, count: int) -> torch.Tensor:
    """Log-likelihoods [E] of examples: the sums over their tokens."""
    logprob_M = predictions.logprob_M
    [example_M] = sent(logprob_M.device, [predictions.batch.example_M])
    return logprob_M.new_zeros(count).index_add(0, example_M, logprob_M)


@dataclass(frozen=True)
class Distillation:
    """Kullback-Leibler divergence from the distribution that two other adapters give together.

    At temperature 1, at every predicted token (Hinton et al. 2015, arXiv 1503.02531).

    Attributes:
        reader: Reads the teachers.
        teachers: Names of two adapters, or `base`.
        combine: Gives scores [M, V] from the teachers' logits [M, V]; -inf where a token is out of the question.
    """

    reader: Reader
    teachers: tuple[str, str]
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    whole_text: bool = False
    #: Logits that are held for each token: the student's, and its teachers'.
    vocabularies: ClassVar[int] = 3

    def __call__(self, predictions: Predictions) -> torch.Tensor:
        with torch.no_grad():
            readings = [predictions, *(self._read(name, predictions.batch) for name in self.teachers)]
        tokens, size = len(predictions.row_M), predictions.logits_PV.shape[-1]
        together = max(1, _VALUES // size)
        if tokens <= together:
            return self._divergence(*(x for each in readings for x in (each.logits_PV, each.row_M)))
        # Of many tokens, or a large vocabulary: some at a time, of which nothing is kept for the backward pass.
        parts = [
            checkpoint(
                self._divergence,
                *(x for each in readings for x in (each.logits_PV, each.row_M[first : first + together])),
                use_reentrant=False,
            )
            for first in range(0, tokens, together)
        ]
        return torch.stack(parts).sum()

    def _divergence(
        self,
        student_PV: torch.Tensor,
        student_M: torch.Tensor,
        one_PV: torch.Tensor,
        one_M: torch.Tensor,
        other_PV: torch.Tensor,
        other_M: torch.Tensor,
    ) -> torch.Tensor:
        """Summed over tokens; the student's and the teachers' rows of logits."""
        with torch.no_grad():
            taught_MV = self.combine(at_least_float(one_PV[one_M]), at_least_float(other_PV[other_M])).softmax(-1)
        # Tokens of probability 0 count nothing.
        return F.kl_div(at_least_float(student_PV[student_M]).log_softmax(-1), taught_MV, reduction="sum")

    def _read(self, teacher: str, batch: Batch) -> Predictions:
        with self.reader.predictions([Batch(teacher, batch.examples, batch.whole_text)]) as [found]:
            return found


def identity_of(loss: Loss | JointLoss) -> dict[str, Any]:
    """What tells one loss from another, for a saved state: its class, and its plain attributes.

    >>> identity_of(Likelihood(whole_text=True))
    {'class': 'Likelihood', 'whole_text': True}
    """
    plain = {name: value for name, value in vars(loss).items() if isinstance(value, bool | int | float | str)}
    return {"class": type(loss).__qualname__, **plain}


def summed(loss_M: torch.Tensor) -> torch.Tensor:
    """The sum; one by one and in order on a CPU: the same however many threads there are."""
    if kernels.kind_of(loss_M.device) != "cpu":
        return loss_M.sum()  # there `index_add` has no order
    return loss_M.new_zeros(1).index_add(0, torch.zeros(len(loss_M), dtype=torch.long, device=loss_M.device), loss_M)[0]
