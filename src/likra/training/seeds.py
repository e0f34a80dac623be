"""The seeds of a pair of adapters."""


def adapter_seed(seed: int, negative: bool) -> int:
    """The seed of one adapter's first weights: 2 * seed for the positive adapter, 2 * seed + 1 for the negative one.

    >>> [adapter_seed(seed, negative) for seed in (0, 1) for negative in (False, True)]
    [0, 1, 2, 3]
    """
    return 2 * seed + negative
