"""The fixtures that start processes: what they start is gone afterwards, whatever happened."""

import subprocess
import sys

import psutil
import pytest

from tests.conftest import spawning

#: A process that has a child in a session of its own, says both their names, and waits for ever, whatever it is told.
_STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
if sys.argv[1] == "stays":
    time.sleep(1e6)
"""


@pytest.mark.parametrize("parent", ["stays", "leaves"])
def test_nothing_outlives_a_test_that_fails(parent: str) -> None:
    started: list[psutil.Process] = []
    with pytest.raises(ZeroDivisionError), spawning() as spawn:
        process = spawn([sys.executable, "-c", _STUBBORN, parent], stdout=subprocess.PIPE)
        assert process.stdout
        started += map(psutil.Process, map(int, process.stdout.readline().split()))
        assert len(started) == 2
        if parent == "leaves":
            process.wait(60)
        1 / 0  # noqa: B018
    assert not any(found.is_running() and found.status() != psutil.STATUS_ZOMBIE for found in started)
