"""Progress where standard error is no terminal: lines, at most one in 30 seconds."""

import pytest

from likra.utils.progress import Log, progress_bar


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_at_most_every_thirty_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Log(clock).lines("Training", "steps") as move:
        for done in range(101):
            move(done, 100, "(loss 1.900)")
            clock.now += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # at 30, 60 and 90 seconds
    assert lines[0] == "likra: Training: 30/100 steps (loss 1.900), 1 steps/s, 1 min 10 s left"


def test_a_short_work_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Log(clock).lines("Scoring", "questions") as move:
        for done in range(11):
            move(done, 10)
            clock.now += 2.0
    assert capsys.readouterr().err == ""


def test_short_works_that_follow_each_other_write_together(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    log = Log(clock)
    for _ in range(10):
        with log.lines("Cells", "cells") as move:
            for done in range(11):
                move(done, 10)
                clock.now += 1.0
    assert len(capsys.readouterr().err.splitlines()) == 3  # in 110 seconds


def test_a_run_that_goes_on_counts_its_own_rate(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Log(clock).lines("Training", "steps") as move:
        for done in range(900, 1000):
            move(done, 1000)
            clock.now += 2.0
    assert "0.5 steps/s, 2 min 50 s left" in capsys.readouterr().err.splitlines()[0]


def test_what_is_not_shown_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Training", "steps", shown=False) as move:
        move(1, 2)
    assert capsys.readouterr().err == ""


def test_what_has_no_known_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Log(clock).lines("Reading", "records") as move:
        for done in range(41):
            move(done, None)
            clock.now += 1.0
    assert capsys.readouterr().err.splitlines() == ["likra: Reading: 30 records, 1 records/s"]
