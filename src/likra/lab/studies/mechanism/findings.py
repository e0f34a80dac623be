"""What a job of the study found, as it is kept: a file of findings per seed."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from likra.lab.runner.outcome import Outcome

#: The file of a job.
FINDINGS = "findings.json"


def findings(outcome: Outcome) -> list[dict[str, Any]]:
    """The findings of each seed."""
    return [json.loads((folder / FINDINGS).read_text(encoding="utf-8")) for folder in outcome.folders[0]]


def entries(found: Sequence[dict[str, Any]], name: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The entries of one list of findings: the first seed's, with those of all seeds."""
    for place, entry in enumerate(found[0][name]):
        yield entry, [of_seed[name][place] for of_seed in found]
