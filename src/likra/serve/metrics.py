"""What a server counts, in Prometheus' form."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CANDIDATES = tuple(2**power for power in range(13))


class Metrics:
    """Counters of one application.

    Attributes:
        content_type: The form of `text`.
        requests: Requests that were answered or refused, by path and status.
        seconds: From a request's headers to the end of its answer, by path.
        candidates, model_seconds: Of each batch that the model read.
        asked_tokens, read_tokens: Tokens of all candidates with their prompts, and how many of them were read: what
            several begin with, in one request or in several, is read once.
        waiting: Requests that wait for the model.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        labels = ("path", "status")
        self.requests = Counter("likra_requests", "Requests answered or refused.", labels, registry=registry)
        self.seconds = Histogram(
            "likra_request_seconds", "Time to an answer.", labels[:1], buckets=_SECONDS, registry=registry
        )
        self.candidates = Histogram(
            "likra_batch_candidates", "Candidates read together.", buckets=_CANDIDATES, registry=registry
        )
        self.model_seconds = Histogram(
            "likra_batch_seconds", "Time to read a batch.", buckets=_SECONDS, registry=registry
        )
        self.asked_tokens = Counter("likra_asked_tokens", "Tokens of candidates with their prompts.", registry=registry)
        self.read_tokens = Counter(
            "likra_read_tokens", "Tokens that were read of them; the others were shared.", registry=registry
        )
        self.waiting = Gauge("likra_waiting_requests", "Requests that wait for the model.", registry=registry)

    def read(self, candidates: int, seconds: float) -> None:
        """A batch was read."""
        self.candidates.observe(candidates)
        self.model_seconds.observe(seconds)

    def shared(self, asked: int, read: int) -> None:
        """So many tokens were asked for, and so many read."""
        self.asked_tokens.inc(asked)
        self.read_tokens.inc(read)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
