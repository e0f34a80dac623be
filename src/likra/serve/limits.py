"""What a server takes in, and how long it may keep a client waiting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from likra.data.canonical import canonical
from likra.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Beyond any of these a request is refused at once, by a status that says why.

    Attributes:
        max_body: Bytes of a request's body (413).
        max_candidates: Candidates of a request (422).
        max_questions: Questions about one state in a request (422).
        max_characters: Characters of a question or a state, and of each candidate (422).
        max_queue: Requests that may wait for the model (429).
        timeout: Seconds within which a request is answered, or refused (429; 408 where its body has not arrived).
        max_wait: Seconds that a request waits for others to be read with.
        max_batch: Candidates that are read together; a request with more is read alone.
    """

    max_body: int = 2**20
    max_candidates: int = 1000
    max_questions: int = 100
    max_characters: int = 20_000
    max_queue: int = 256
    timeout: float = 30.0
    max_wait: float = 0.005
    max_batch: int = 256

    def __post_init__(self) -> None:
        for option, seconds in (("timeout", self.timeout), ("max-wait-ms", self.max_wait)):
            if not math.isfinite(seconds):
                raise InputError(f"--{option} {seconds}: must be a finite number.")

    def check(self, question: str, candidates: Sequence[str], fields: tuple[str, str]) -> None:
        """Raise InputError where there are too many candidates, one is empty, or a text is too long.

        Args:
            question: What is asked.
            candidates: What may answer it.
            fields: The request's names of question and candidates.
        """
        if len(candidates) > self.max_candidates:
            raise InputError(
                f"{len(candidates)} candidates are more than the {self.max_candidates} that this server takes at "
                "once; send fewer."
            )
        places = [fields[0], *(f"{fields[1]}.{place}" for place in range(len(candidates)))]
        for place, text in zip(places, (question, *candidates), strict=True):
            if len(text) > self.max_characters:
                raise InputError(
                    f"{place}: has {len(text)} characters, more than the {self.max_characters} that this server takes; "
                    "shorten it."
                )
            if place != fields[0] and not canonical(text):
                raise InputError(f"{place}: is empty; give it text, or leave it out.")


def check_key(key: str) -> None:
    """Raise InputError unless `key` can be sent as a bearer token."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError("--api-key: must be one word of letters, digits and signs (ASCII), without spaces.")
