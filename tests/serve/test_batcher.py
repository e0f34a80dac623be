"""The batcher, with a reader of which every answer is known."""

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likra.errors import InputError
from likra.likelihood import Likelihoods
from likra.questions import Question
from likra.serve.batcher import Batcher, Overloaded
from likra.serve.limits import Limits


def ask(name: str, choices: int = 2) -> Question:
    return Question("question", name, tuple(f"{name} {place}" for place in range(choices)))


class Reader:
    """Reads questions: the log-likelihood of a choice is minus the hash of its text."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, questions: Sequence[Question]) -> Likelihoods:
        self.threads.add(threading.current_thread().name)
        self.batches.append(sum(len(question.choices) for question in questions))
        time.sleep(self.seconds)
        if bad := [question.text for question in questions if question.text.startswith("bad")]:
            raise InputError(f"{bad[0]} cannot be read.")
        shape = (len(questions), max(len(question.choices) for question in questions))
        table = Likelihoods(
            ("base",), list(questions), np.full((1, *shape), np.nan), np.ones(shape, int), np.zeros(shape)
        )
        for row, question in enumerate(questions):
            table.logprob_HQC[0, row, : len(question.choices)] = expected(question)
        return table


def expected(question: Question) -> list[float]:
    return [-float(hash(choice) % 1000) for choice in question.choices]


async def answers(batcher: Batcher, questions: Sequence[Question]) -> list[Likelihoods | BaseException]:
    asked = [batcher.likelihoods(question) for question in questions]
    return await asyncio.gather(*asked, return_exceptions=True)


def run(reader: Reader, limits: Limits, questions: Sequence[Question]) -> list[Likelihoods | BaseException]:
    batcher = Batcher(reader, limits)
    batcher.start()
    try:
        return asyncio.run(answers(batcher, questions))
    finally:
        batcher.stop()


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


def test_requests_are_read_together_and_a_lone_one_waits_no_longer_than_allowed() -> None:
    reader = Reader()
    run(reader, Limits(max_wait=0.2), [ask(f"question {number}") for number in range(20)])
    assert reader.batches == [40]
    start = time.monotonic()
    run(reader, Limits(max_wait=0.2), [ask("alone")])
    assert 0.2 <= time.monotonic() - start < 2


def test_a_full_batch_waits_for_nobody() -> None:
    start = time.monotonic()
    run(Reader(), Limits(max_wait=30, max_batch=6), [ask(f"question {number}") for number in range(3)])
    assert time.monotonic() - start < 5


def test_a_question_that_cannot_be_read_spoils_nobody_elses() -> None:
    names = [f"bad {number}" if number in (2, 3, 11) else f"good {number}" for number in range(13)]
    found = run(Reader(), Limits(max_wait=0.05), [ask(name) for name in names])
    for name, answer in zip(names, found, strict=True):
        if name.startswith("bad"):
            assert isinstance(answer, InputError) and str(answer) == f"{name} cannot be read."
        else:
            assert isinstance(answer, Likelihoods) and answer.questions[0].text == name


def test_a_full_queue_refuses() -> None:
    limits = Limits(max_wait=0, max_batch=2, max_queue=4)
    found = run(Reader(seconds=0.1), limits, [ask(f"question {number}") for number in range(12)])
    refused = [answer for answer in found if isinstance(answer, Overloaded)]
    assert len([answer for answer in found if isinstance(answer, Likelihoods)]) + len(refused) == 12
    assert 1 <= len(refused) <= 12 - 4  # all ask at once, and four may wait
    assert all(answer.retry_after >= 1 for answer in refused)


def test_who_cannot_be_answered_in_time_is_refused_and_never_read() -> None:
    reader = Reader(seconds=0.6)
    found = run(reader, Limits(max_wait=0, max_batch=2, timeout=0.9), [ask(f"question {n}") for n in range(8)])
    assert [type(answer) for answer in found] == [Likelihoods] + [Overloaded] * 7
    assert len(reader.batches) == 2  # the second was with the model when its time was over


def test_stopping_answers_what_was_accepted() -> None:
    reader = Reader(seconds=0.05)

    async def stop_while_busy() -> list[Likelihoods | BaseException]:
        batcher = Batcher(reader, Limits(max_wait=0, max_batch=2))
        batcher.start()
        waiting = asyncio.ensure_future(answers(batcher, [ask(f"question {number}") for number in range(8)]))
        await asyncio.sleep(0.02)
        await asyncio.to_thread(batcher.stop)
        with pytest.raises(Overloaded):
            await batcher.likelihoods(ask("too late"))
        return await waiting

    assert all(isinstance(answer, Likelihoods) for answer in asyncio.run(stop_while_busy()))


def test_a_reader_that_fails_is_not_asked_again_and_again() -> None:
    calls = []

    def broken(questions: Sequence[Question]) -> Likelihoods:
        calls.append(len(questions))
        raise RuntimeError("the device is gone")

    batcher = Batcher(broken, Limits(max_wait=0.1))
    batcher.start()
    try:
        found = asyncio.run(answers(batcher, [ask(f"question {number}") for number in range(16)]))
    finally:
        batcher.stop()
    assert all(isinstance(answer, RuntimeError) for answer in found)
    assert sum(calls) == 16
