"""The split that a name stands for, and the split of a question where none is given."""

import hashlib
import re

TEST_SHARE = 0.1

#: Words for splits -> the split that they mean.
SPLIT_NAMES = {"train": "train", "dev": "validation", "val": "validation", "valid": "validation"}
SPLIT_NAMES |= {"validation": "validation", "test": "test"}


def split_of(stem: str) -> str | None:
    """The split that a file's or folder's name stands for.

    >>> split_of("quiz-dev_2"), split_of("quiz")
    ('validation', None)
    """
    words = re.split(r"[^a-z]+", stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def hash_split(asked: str) -> str:
    """`test` for a tenth of all questions, else `train`; by a hash, so that other questions do not matter.

    >>> hash_split("which gas?"), hash_split("which metal?")
    ('test', 'train')
    """
    fraction = int.from_bytes(hashlib.sha256(asked.encode()).digest()[:8], "big") / 2**64
    return "test" if fraction < TEST_SHARE else "train"
