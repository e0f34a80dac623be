"""likra's command line, whose model is held: it reads on for each line of standard input, and at its end.

    python held.py serve HEADS --port 0

prints "reading" whenever the model begins.
"""

import os
import sys
from typing import Any

os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # as `main` does, too late for what is imported here

from likra.cli.app import main
from likra.likra import Likra

_read = Likra.likelihoods


def _held(self: Likra, *arguments: Any, **options: Any) -> Any:
    print("reading", flush=True)
    sys.stdin.readline()
    return _read(self, *arguments, **options)


Likra.likelihoods = _held  # type: ignore[method-assign]
main()
