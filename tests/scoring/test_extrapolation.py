"""Extrapolated accuracies against curves that are known, and the accuracies that docs/experiments.md has."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from likra.errors import InputError
from likra.scoring.extrapolation import Point, _log_likelihood, extrapolate

CHANCE = 0.25


def measured(size: int, accuracy: float, records: int = 300) -> Point:
    """So many records, as many of them right as the accuracy says."""
    return Point(size, (np.arange(records) < accuracy * records).astype(float))


@pytest.mark.parametrize(
    ("points", "size", "truth", "records"),
    [
        # docs/experiments.md: SmolLM2 on ARC (300 questions, three seeds), and the embedded world (240 questions)
        pytest.param({64: 0.338, 128: 0.367, 256: 0.379}, 512, 0.422, 300, id="arc"),
        pytest.param({64: 0.338, 128: 0.367, 256: 0.379}, 1024, 0.422, 300, id="arc, 1024"),
        pytest.param({64: 0.338, 128: 0.367}, 1024, 0.422, 300, id="arc, from two sizes"),
        pytest.param({32: 0.744, 64: 0.797, 128: 0.833}, 512, 0.852, 240, id="world"),
        pytest.param({8: 0.610, 16: 0.669, 32: 0.744, 64: 0.797}, 512, 0.852, 240, id="world, from 8"),
        # the paper's Figure 1: a jump between 64 and 128, then little
        pytest.param({32: 0.60, 64: 0.62, 128: 0.77}, 512, 0.80, 300, id="paper"),
        pytest.param({32: 0.7, 64: 0.7, 128: 0.7}, 512, 0.7, 300, id="flat"),
        pytest.param({32: 0.26, 64: 0.25, 128: 0.27}, 512, 0.25, 300, id="at chance"),
        pytest.param({32: 0.98, 64: 1.0, 128: 1.0}, 512, 1.0, 300, id="perfect"),
    ],
)
def test_what_is_known_is_held(points: dict[int, float], size: int, truth: float, records: int) -> None:
    [found] = extrapolate([measured(*point, records) for point in points.items()], [size], chance=CHANCE)
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.6


def test_the_interval_holds_curves_of_several_shapes() -> None:
    rng = np.random.default_rng(0)
    shapes = [
        lambda n: 0.9 - 0.8 * n**-0.35,
        lambda n: 0.8 - 0.6 * n**-0.12,
        lambda n: 0.3 + 0.05 * np.log2(n),
        lambda n: 0.95 - 0.5 * np.exp(-n / 20),
        lambda n: 0.30 + 0.35 / (1 + np.exp(-6 * (np.log2(n) - 6.5))),  # a jump between 64 and 128
    ]
    held = []
    for shape in shapes:
        for _ in range(4):
            points = [Point(size, (rng.random(200) < shape(size)).astype(float)) for size in (32, 64, 128)]
            [found] = extrapolate(points, [512], chance=CHANCE)
            held.append(found.low <= shape(512) <= found.high)
    assert np.mean(held) >= 0.9


def test_more_records_and_more_runs_and_nearer_sizes_make_it_narrower() -> None:
    def width(records: int, runs: int, size: int) -> float:
        points = [
            Point(known, np.tile(measured(known, accuracy, records).credit_SQ, (runs, 1)))
            for known, accuracy in ((32, 0.7), (64, 0.75), (128, 0.79))
        ]
        [found] = extrapolate(points, [size], chance=CHANCE)
        return found.high - found.low

    assert width(2000, 1, 512) < width(60, 1, 512)
    assert width(2000, 5, 512) < width(2000, 1, 512)
    assert width(300, 1, 256) < width(300, 1, 4096)


def test_between_two_good_measurements_it_is_between_them() -> None:
    known = [measured(100, 0.7, 5000), measured(400, 0.8, 5000)]
    [found] = extrapolate(known, [200], chance=CHANCE)
    assert 0.66 < found.low < found.value < found.high < 0.84


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3)) / 30
    off, covariance, apart = rng.normal(size=(2, 3)) / 20, root @ root.T, np.array([0.02, 0.03])
    for runs in (np.ones(3), np.array([1.0, 2.0, 5.0])):
        found = _log_likelihood(off, covariance, apart, runs)
        expected = [
            multivariate_normal.logpdf(one, cov=covariance + np.diag(each**2 / runs))
            for one, each in zip(off, apart, strict=True)
        ]
        # up to the same constant
        assert found[0] - found[1] == pytest.approx(expected[0] - expected[1])


def test_a_curve_needs_two_sizes_with_records() -> None:
    one, other = measured(32, 0.6), measured(64, 0.7)
    for points, sizes in (([one], [512]), ([one, one], [512]), ([one, other], [0]), ([], [512])):
        with pytest.raises(InputError, match="sizes must be two or more"):
            extrapolate(points, sizes)
    with pytest.raises(InputError, match="no records"):
        extrapolate([one, Point(64, np.array([]))], [512])
    # Records that differ from size to size are taken as they are.
    assert extrapolate([one, measured(64, 0.7, 50)], [512])[0].low > 0.4
