"""The batcher, with a reader of which every answer is known."""

import asyncio
import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likra.data import Question
from likra.errors import InputError
from likra.scoring.likelihoods import Likelihoods
from likra.serve import batcher as batcher_module
from likra.serve.batcher import Batcher, ModelGone, Overloaded, Unread
from likra.serve.limits import Limits
from tests.conftest import PATIENCE

Table = tuple[Likelihoods, list[list[Any]]]


def ask(name: str, choices: int = 2) -> Question:
    return Question("question", name, tuple(f"{name} {place}" for place in range(choices)))


class Reader:
    """Reads questions, once it is let `go`: the log-likelihood of a choice is minus the hash of its text."""

    def __init__(self, held: bool = False) -> None:
        self.reading, self.go = threading.Event(), threading.Event()
        if not held:
            self.go.set()
        self.read: list[str] = []
        self.batches: list[int] = []
        self.models: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, model: str, questions: Sequence[Question]) -> Table:
        self.models.append(model)
        self.threads.add(threading.current_thread().name)
        self.batches.append(sum(len(question.choices) for question in questions))
        self.read += [question.text for question in questions]
        self.reading.set()
        assert self.go.wait(PATIENCE)
        if bad := [question.text for question in questions if question.text.startswith("bad")]:
            raise InputError(f"{bad[0]} cannot be read.")
        shape = (len(questions), max(len(question.choices) for question in questions))
        table = Likelihoods(
            ("base",), list(questions), np.full((1, *shape), np.nan), np.ones(shape, int), np.zeros(shape)
        )
        for row, question in enumerate(questions):
            table.logprob_HQC[0, row, : len(question.choices)] = expected(question)
        return table, [[] for _ in questions]


def expected(question: Question) -> list[float]:
    return [-float(hash(choice) % 1000) for choice in question.choices]


async def one(batcher: Batcher, question: Question, model: str = "") -> Likelihoods:
    table, _ = await batcher.likelihoods(model, [question])
    return table


async def answers(batcher: Batcher, questions: Sequence[Question]) -> list[Likelihoods | BaseException]:
    asked = [one(batcher, question) for question in questions]
    return await asyncio.gather(*asked, return_exceptions=True)


def run(reader: Any, limits: Limits, questions: Sequence[Question]) -> list[Likelihoods | BaseException]:
    batcher = Batcher(reader, limits)
    batcher.start()
    try:
        return asyncio.run(answers(batcher, questions))
    finally:
        if isinstance(reader, Reader):
            reader.go.set()
        batcher.stop()


async def begun(batcher: Batcher, questions: Sequence[Question]) -> "list[asyncio.Task[Likelihoods]]":
    """Tasks that have asked: each is accepted by now, or refused."""
    tasks = [asyncio.create_task(one(batcher, question)) for question in questions]
    await asyncio.sleep(0)
    return tasks


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_everybody_gets_their_own_answer_in_batches_of_the_size_allowed(sizes: list[int], limit: int) -> None:
    reader = Reader()
    questions = [ask(f"question {number}", size) for number, size in enumerate(sizes)]
    found = run(reader, Limits(max_wait=0.002, max_batch=limit), questions)
    for question, table in zip(questions, found, strict=True):
        assert isinstance(table, Likelihoods)
        assert table.questions == [question]
        assert table.logprob_HQC.tolist() == [[expected(question)]]
    assert sum(reader.batches) == sum(sizes)
    assert all(batch <= limit or batch in sizes for batch in reader.batches)
    assert len(reader.threads) == 1


def test_requests_are_read_together() -> None:
    reader = Reader()
    run(reader, Limits(max_wait=PATIENCE, max_batch=40), [ask(f"question {number}") for number in range(20)])
    assert reader.batches == [40]


def test_a_lone_request_waits_as_long_as_allowed() -> None:
    start = time.monotonic()
    [answer] = run(Reader(), Limits(max_wait=0.2, timeout=PATIENCE), [ask("alone")])
    assert isinstance(answer, Likelihoods) and time.monotonic() - start >= 0.2


def test_a_full_batch_waits_for_nobody() -> None:
    limits = Limits(max_wait=10 * PATIENCE, max_batch=6, timeout=PATIENCE)
    found = run(Reader(), limits, [ask(f"question {number}") for number in range(3)])
    assert all(isinstance(answer, Likelihoods) for answer in found)


def test_a_question_that_cannot_be_read_spoils_nobody_elses() -> None:
    names = [f"bad {number}" if number in (2, 3, 11) else f"good {number}" for number in range(13)]
    found = run(Reader(), Limits(max_wait=PATIENCE, max_batch=26), [ask(name) for name in names])
    for name, answer in zip(names, found, strict=True):
        if name.startswith("bad"):
            assert isinstance(answer, InputError) and str(answer) == f"{name} cannot be read."
        else:
            assert isinstance(answer, Likelihoods) and answer.questions[0].text == name


def test_a_full_queue_refuses() -> None:
    reader = Reader(held=True)

    async def overload() -> None:
        batcher = Batcher(reader, Limits(max_wait=0, max_batch=2, max_queue=4, timeout=PATIENCE))
        batcher.start()
        try:
            [first] = await begun(batcher, [ask("first")])
            await asyncio.to_thread(reader.reading.wait, PATIENCE)
            others = await begun(batcher, [ask(f"question {number}") for number in range(11)])
            assert batcher.waiting == 4 and [task.done() for task in others] == [False] * 4 + [True] * 7
            for refused in others[4:]:
                error = refused.exception()
                assert isinstance(error, Overloaded) and error.retry_after >= 1
        finally:
            reader.go.set()
        await asyncio.gather(first, *others[:4])
        await asyncio.to_thread(batcher.stop)

    asyncio.run(overload())
    assert reader.batches == [2] * 5


def test_who_cannot_be_answered_in_time_is_refused_and_never_read() -> None:
    reader = Reader(held=True)  # until all have been refused
    found = run(reader, Limits(max_wait=0, max_batch=2, timeout=0.05), [ask(f"question {n}") for n in range(8)])
    assert [type(answer) for answer in found] == [Overloaded] * 8
    assert set(reader.read) <= {"question 0"}  # which may be with the model when its time is over


def test_stopping_answers_what_was_accepted() -> None:
    reader = Reader(held=True)

    async def stop_while_busy() -> list[Likelihoods | BaseException]:
        batcher = Batcher(reader, Limits(max_wait=0, max_batch=2, max_queue=10**6, timeout=PATIENCE))
        batcher.start()
        try:
            accepted = await begun(batcher, [ask(f"question {number}") for number in range(8)])
            stopping = asyncio.create_task(asyncio.to_thread(batcher.stop))
            while True:
                [probe] = await begun(batcher, [ask("probe")])
                if probe.done():
                    break
                accepted.append(probe)
                await asyncio.sleep(0.001)
            assert isinstance(probe.exception(), Overloaded) and not stopping.done()
        finally:
            reader.go.set()
        await stopping
        [late] = await begun(batcher, [ask("too late")])
        assert isinstance(late.exception(), Overloaded)
        return await asyncio.gather(*accepted, return_exceptions=True)

    assert all(isinstance(answer, Likelihoods) for answer in asyncio.run(stop_while_busy()))


def test_a_reader_that_fails_is_not_asked_again_and_again() -> None:
    calls = []

    def broken(model: str, questions: Sequence[Question]) -> Table:
        calls.append(len(questions))
        raise RuntimeError("the device is gone")

    limits = Limits(max_wait=PATIENCE, max_batch=32)
    found = run(broken, limits, [ask(f"question {number}") for number in range(16)])
    assert all(isinstance(answer, Unread) and "device" in str(answer.__cause__) for answer in found)
    assert calls == [16]


# What fails, fails those who were read together, and nobody after them.

TOGETHER = Limits(max_wait=PATIENCE, max_batch=10, timeout=PATIENCE)  # five questions of two choices
ERRORS = [
    *(RuntimeError("the device is gone"), MemoryError(), ValueError(), KeyboardInterrupt(), SystemExit(1)),
    *(StopIteration(), GeneratorExit(), TimeoutError(), asyncio.CancelledError(), Overloaded(1), ModelGone()),
]


def survives(batcher: Batcher, failing: Callable[[bool], None]) -> None:
    """Five questions that are read together fail; after that the next ones are answered, each by its own table."""
    batcher.start()

    async def scenario() -> None:
        for _ in range(2):
            failing(True)
            found = await answers(batcher, [ask(f"unlucky {number}") for number in range(5)])
            assert [type(answer) for answer in found] == [Unread] * 5
            assert batcher.alive
            failing(False)
            lucky = [ask(f"lucky {number}") for number in range(5)]
            tables = await asyncio.gather(*(one(batcher, question) for question in lucky))
            assert [table.logprob_HQC.tolist() for table in tables] == [[[expected(question)]] for question in lucky]

    try:
        asyncio.run(scenario())
    finally:
        batcher.stop()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["read", "on_batch", "_part"])
def test_no_error_ends_the_thread(error: BaseException, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = False

    def or_fails(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if fails and name == place:
                raise error
            return real(*arguments)

        return called

    def failing(now: bool) -> None:
        nonlocal fails
        fails = now

    monkeypatch.setattr(batcher_module, "_part", or_fails("_part", batcher_module._part))
    on_batch = or_fails("on_batch", lambda candidates, seconds: None)
    survives(Batcher(or_fails("read", Reader()), TOGETHER, on_batch), failing)


def test_an_input_error_of_ours_is_nobodys_bad_input() -> None:
    def on_batch(candidates: int, seconds: float) -> None:
        raise InputError("--out: is full.")

    batcher = Batcher(Reader(), Limits(max_wait=PATIENCE, max_batch=4), on_batch)
    batcher.start()
    try:
        found = asyncio.run(answers(batcher, [ask("one"), ask("two")]))
    finally:
        batcher.stop()
    assert [type(answer) for answer in found] == [Unread] * 2


def _fewer(table: Likelihoods) -> Any:
    return Likelihoods(table.heads, table.questions[1:], *_rows(table, slice(1, None)))


def _rows(table: Likelihoods, rows: Any) -> tuple[Any, Any, Any]:
    return table.logprob_HQC[:, rows], table.tokens_QC[rows], table.cut_QC[rows]


@pytest.mark.parametrize(
    "spoiled",
    [
        _fewer,
        lambda table: Likelihoods(table.heads, table.questions, *_rows(table, slice(1, None))),
        lambda table: Likelihoods(table.heads, [*table.questions, ask("more")], *_rows(table, [0, *range(5)])),
        lambda table: Likelihoods(table.heads, table.questions[::-1], *_rows(table, slice(None, None, -1))),
        lambda table: None,
    ],
    ids=["fewer", "fewer rows", "more", "other order", "none"],
)
def test_a_table_of_other_questions_is_given_to_nobody(spoiled: Callable[[Likelihoods], Any]) -> None:
    fails = False
    reader = Reader()

    def failing(now: bool) -> None:
        nonlocal fails
        fails = now

    def read(model: str, questions: Sequence[Question]) -> Any:
        table, encoded = reader(model, questions)
        return (spoiled(table), encoded) if fails else (table, encoded)

    survives(Batcher(read, TOGETHER), failing)


def test_gathering_that_fails_fails_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = False

    class Waiting(collections.deque[Any]):
        def popleft(self) -> Any:
            if fails:
                raise MemoryError
            return super().popleft()

    def failing(now: bool) -> None:
        nonlocal fails
        fails = now

    batcher = Batcher(Reader(), TOGETHER)
    monkeypatch.setattr(batcher, "_waiting", Waiting())
    survives(batcher, failing)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_dead_after_all_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(held=True)
    batcher = Batcher(reader, Limits(max_wait=0, max_batch=2, timeout=PATIENCE))
    assert not batcher.alive

    def no_room(*_: Any) -> Exception:
        raise MemoryError

    async def scenario() -> None:
        [early] = await begun(batcher, [ask("before the start")])
        assert isinstance(early.exception(), ModelGone)
        batcher.start()
        assert batcher.alive
        tasks = await begun(batcher, [ask("unlucky")])
        await asyncio.to_thread(reader.reading.wait, PATIENCE)
        tasks += await begun(batcher, [ask(f"waiting {number}") for number in range(3)])
        monkeypatch.setattr(batcher, "_turn", no_room)  # from the next on
        reader.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in found] == [Likelihoods] + [ModelGone] * 3
        [late] = await begun(batcher, [ask("too late")])
        assert isinstance(late.exception(), ModelGone) and not batcher.alive and batcher.waiting == 0

    asyncio.run(scenario())
    batcher.stop()
