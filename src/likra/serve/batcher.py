"""Requests of many clients, read together: one thread runs the model, on what has gathered in a few milliseconds."""

import asyncio
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from likra.data import Question
from likra.errors import InputError
from likra.scoring.likelihoods import Likelihoods
from likra.serve.limits import Limits
from likra.serve.models import Encoded

#: Reads questions under the model of a name: their table, and the tokens of their candidates.
Reader = Callable[[str, Sequence[Question]], tuple[Likelihoods, Encoded]]


class Overloaded(Exception):
    """A request that will not be answered in time.

    Attributes:
        retry_after: Seconds after which it is worth another try.
    """

    def __init__(self, retry_after: int, waited: float | None = None) -> None:
        reason = "too many requests are waiting" if waited is None else f"there was no answer within {waited:g} s"
        super().__init__(f"{reason}; try again in {retry_after} s, or send fewer candidates.")
        self.retry_after = retry_after


class Unread(RuntimeError):
    """A batch that failed by no fault of those who asked; its cause says why."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the batch that this request was in has failed.")
        self.__cause__ = cause


class ModelGone(Exception):
    """The thread that reads the model has ended: nothing can be answered."""

    def __init__(self) -> None:
        super().__init__("the model is not read any more; start the server again.")


@dataclass
class _Job:
    model: str
    questions: Sequence[Question]
    accepted: float = field(default_factory=time.monotonic)
    answer: "Future[tuple[Likelihoods, Encoded]]" = field(default_factory=Future)

    @property
    def size(self) -> int:
        """How many candidates it has."""
        return sum(len(question.choices) for question in self.questions)


class Batcher:
    """Gathers questions, and has them read by one thread, which alone touches the model."""

    def __init__(
        self, read: Reader, limits: Limits, on_batch: Callable[[int, float], None] = lambda candidates, seconds: None
    ) -> None:
        """
        Args:
            read: Reads a batch of questions of one model; called in one thread only.
            limits: How long to gather, how much to read together, how many may wait, and how long.
            on_batch: Called with (candidates, seconds) of each batch that was read.
        """
        self._read = read
        self._limits = limits
        self._on_batch = on_batch
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition(threading.RLock())
        self._stopping = self._ended = False
        self._thread = threading.Thread(target=self._run, name="likra-model", daemon=True)

    @property
    def waiting(self) -> int:
        """Requests that wait to be read."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether requests are read: between `start` and `stop`, unless the thread has failed."""
        return self._thread.is_alive() and not self._ended

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read what was accepted, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    async def likelihoods(self, model: str, questions: Sequence[Question]) -> tuple[Likelihoods, Encoded]:
        """The table of a request's questions, which were read with those of other callers, and their tokens.

        Raises:
            Overloaded: Too many wait already, or the answer does not come in time.
            InputError: One of the questions cannot be read; nobody else's is spoiled by it.
            Unread: Reading has failed, for all that were read together.
            ModelGone: Nothing is read any more.
        """
        job = _Job(model, questions)
        with self._changed:
            if self._stopping or len(self._waiting) >= self._limits.max_queue:
                raise Overloaded(self._retry_after())
            if not self.alive:
                raise ModelGone
            self._waiting.append(job)
            self._changed.notify()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.answer), self._limits.timeout)
        except TimeoutError:
            raise Overloaded(self._retry_after(), self._limits.timeout) from None

    def _retry_after(self) -> int:
        """As long as the oldest has waited by now."""
        with self._changed:
            oldest = next(iter(self._waiting), None)
        return max(1, math.ceil(time.monotonic() - oldest.accepted)) if oldest else 1

    def _run(self) -> None:
        try:
            while self._waiting or not self._stopping:
                self._turn()
        finally:
            with self._changed:
                self._ended = True
                _fail(self._taken(), ModelGone)

    def _turn(self) -> None:
        """Read one batch. Whatever goes wrong, even an exit, fails this batch alone: no other thread reads the next."""
        batch: list[_Job] = []
        try:
            self._gather(batch)
            if batch:
                self._answer(batch)
        except BaseException as error:
            cause = error
            # What fails before there is a batch would fail again with the same jobs.
            _fail(batch or self._taken(), lambda: Unread(cause))

    def _gather(self, batch: list[_Job]) -> None:
        """Move to `batch` the next jobs of one model; those that nobody waits for any more are dropped."""
        limit = self._limits.max_batch
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._waiting:
                rest = self._waiting[0].accepted + self._limits.max_wait - time.monotonic()
                self._changed.wait_for(
                    lambda: self._stopping or sum(job.size for job in self._waiting) >= limit,
                    timeout=max(0.0, rest),
                )
            size, others = 0, list[_Job]()
            try:
                while self._waiting and (not batch or size + self._waiting[0].size <= limit):
                    job = self._waiting.popleft()
                    if batch and job.model != batch[0].model:
                        others.append(job)
                    elif job.answer.set_running_or_notify_cancel():
                        batch.append(job)
                        size += job.size
            finally:
                self._waiting.extendleft(reversed(others))

    def _taken(self) -> list[_Job]:
        """All that wait, who wait no longer."""
        with self._changed:
            jobs = [job for job in self._waiting if job.answer.set_running_or_notify_cancel()]
            self._waiting.clear()
            return jobs

    def _answer(self, batch: list[_Job]) -> None:
        start = time.monotonic()
        questions = [question for job in batch for question in job.questions]
        try:
            table, encoded = self._read(batch[0].model, questions)
        except InputError as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            # The one at fault is found by halving, and the others are answered.
            middle = len(batch) // 2
            self._answer(batch[:middle])
            self._answer(batch[middle:])
            return
        if table.questions != questions or table.logprob_HQC.shape[1] != len(questions):
            raise ValueError("the reader's table is not of the questions that it was given")
        ends = [*itertools.accumulate(len(job.questions) for job in batch)]
        found = [_part(table, encoded, end - len(job.questions), end) for job, end in zip(batch, ends, strict=True)]
        self._on_batch(sum(job.size for job in batch), time.monotonic() - start)
        for job, own in zip(batch, found, strict=True):
            job.answer.set_result(own)


def _fail(jobs: Iterable[_Job], reason: Callable[[], Exception]) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(reason())


def _part(table: Likelihoods, encoded: Encoded, start: int, stop: int) -> tuple[Likelihoods, Encoded]:
    """Some of the questions, which follow one another."""
    return table.rows(start, stop), encoded[start:stop]
