"""Rules of an error budget, and extrapolated accuracies, on draws whose truth is known; no model.

python benchmarks/simulations.py
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from likra.scoring.budget import choose
from likra.scoring.extrapolation import Point, extrapolate
from likra.scoring.likelihoods import Floats

BUDGET, CHANCE, TRIED, SIZE = 0.05, 0.25, (32, 64, 128), 512
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
Curve = Callable[[float], float]


def _beta(a: float, b: float, harm: float = 1.0, least: float = 0.0) -> Draw:
    def drawn(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        sure = least + (1 - least) * rng.beta(a, b, size=count)
        return sure, ((1 - sure) * harm).clip(0, 0.75)

    return drawn


def _flat(error: float) -> Draw:
    return lambda rng, count: (rng.uniform(0.9, 1, size=count), np.full(count, error))


def _edge(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    sure = rng.uniform(0.5, 1, size=count)
    return sure, np.where(sure > 0.7, BUDGET, 0.4)


def _anti(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    sure = rng.uniform(0.9, 1, size=count)
    return sure, np.where(sure > 0.98, 2 * BUDGET, BUDGET)


#: What confidence is like -> draws of confidence and of the probability to be wrong.
CONFIDENCES: dict[str, Draw] = {
    "Beta(6, 0.8)": _beta(6, 0.8),
    "Beta(5, 0.3)": _beta(5, 0.3),
    "duller: 1/4 + 3/4 Beta(3, 1)": _beta(3, 1, least=0.25),
    "overconfident: 1.6 times the errors": _beta(5, 0.7, harm=1.6, least=0.25),
    "says nothing, error 6%": _flat(0.06),
    "says nothing, error 3%": _flat(0.03),
    "error 5% above 0.7, else 40%": _edge,
    "error 10% above 0.98, else 5%": _anti,
}


def _jump(at: float, height: float = 0.35, steepness: float = 6.0) -> Curve:
    return lambda n: 0.3 + height / (1 + float(np.exp(-steepness * (np.log2(n) - at))))


#: The shapes by which the prior of `extrapolate` was set, and others that it was not set by.
USED: dict[str, Curve] = {
    "0.9 - 0.8 n^-0.35": lambda n: 0.9 - 0.8 * n**-0.35,
    "0.8 - 0.6 n^-0.12": lambda n: 0.8 - 0.6 * n**-0.12,
    "0.3 + 0.05 log2(n)": lambda n: 0.3 + 0.05 * np.log2(n),
    "flat at chance": lambda n: 0.25,
    "flat at 0.7": lambda n: 0.7,
    "jump between 64 and 128": _jump(6.5),
    "jump between 128 and 256": _jump(7.5),
    "jump between 256 and 512": _jump(8.5),
    "0.95 - 0.5 exp(-n/20)": lambda n: 0.95 - 0.5 * np.exp(-n / 20),
    "0.55, from 64 on 0.05 a doubling": lambda n: 0.55 + 0.05 * max(0.0, np.log2(n) - 6),
    "steps at 45 and 256": lambda n: 0.4 + 0.15 * (n > 45) + 0.2 * (n > 256),
    "0.7 at 128, 0.03 less a doubling away": lambda n: 0.7 - 0.03 * abs(np.log2(n) - 7),
}
OTHERS: dict[str, Curve] = {
    "0.85 - 0.5 exp(-(n/100)^0.6)": lambda n: 0.85 - 0.5 * np.exp(-((n / 100) ** 0.6)),
    "0.6 - 0.35 (1 + n/60)^-1.2": lambda n: 0.6 - 0.35 * (1 + n / 60) ** -1.2,
    "0.99 - 0.3 n^-0.5": lambda n: 0.99 - 0.3 * n**-0.5,
    "slope halved at 96": lambda n: 0.35 + 0.08 * min(np.log2(n), 6.6) - 0.2 + 0.04 * max(0.0, np.log2(n) - 6.6),
    "slope doubled at 96": lambda n: 0.25 + 0.03 * min(np.log2(n), 6.6) + 0.06 * max(0.0, np.log2(n) - 6.6),
    "jump of 20 points between 32 and 64": _jump(5.5, 0.2),
    "slow S from 0.3 to 0.8 around 128": _jump(7, 0.5, 1.0),
}


def naive(confidence_Q: Floats, credit_Q: Floats) -> float | None:
    """The lowest threshold with an error within the budget."""
    order = np.argsort(-confidence_Q)
    error_K = np.cumsum(1 - credit_Q[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(error_K <= BUDGET)
    return float(confidence_Q[order[within[-1]]]) if len(within) else None


def budgets(draws: int) -> None:
    print(
        "| confidence | decisions | rule | automates something, % | automates, % | mean error, % | error above the "
        "budget, % | above 1.5 times it, % | interval holds, % |\n|---|---:|---|---:|---:|---:|---:|---:|---:|"
    )
    rng = np.random.default_rng(0)
    for name, draw in CONFIDENCES.items():
        many, wrong = draw(rng, 200_000)
        order = np.argsort(many)
        many, error = many[order], np.cumsum(wrong[order][::-1])[::-1] / np.arange(len(order), 0, -1)
        for count in (60, 150, 400, 1000):
            found: dict[str, list[tuple[float, float, float]]] = {"naive": [], "on average": [], "95% certainty": []}
            for _ in range(draws):
                sure, risk = draw(rng, count)
                right = (rng.random(count) >= risk).astype(float)
                chosen = choose(sure, right, BUDGET)
                both = {"on average": chosen.average, "95% certainty": chosen.sure}
                at = {rule: one.threshold if one else None for rule, one in both.items()} | {
                    "naive": naive(sure, right)
                }
                for rule, threshold in at.items():
                    if threshold is None:
                        found[rule].append((0.0, 0.0, np.nan))
                        continue
                    place = int(np.searchsorted(many, threshold))
                    truth, one = error[min(place, len(many) - 1)], both.get(rule)
                    holds = float(one.error.low <= truth <= one.error.high) if one else np.nan
                    found[rule].append((1 - place / len(many), truth, holds))
            for rule, rows in found.items():
                share, truth, holds = np.array(rows).T
                kept = holds[~np.isnan(holds)]
                shown = [(share > 0).mean(), share.mean(), truth.mean()]
                shown += [(truth > BUDGET + 1e-3).mean(), (truth > 1.5 * BUDGET).mean()]
                cells = [f"{100 * one:.1f}" for one in shown] + [f"{100 * kept.mean():.0f}" if len(kept) else ""]
                print(f"| {name} | {count} | {rule} | {' | '.join(cells)} |", flush=True)


def curves(draws: int) -> None:
    print(
        f"\n| curve | {SIZE}, % | interval holds, % of draws | its mean width, points |\n|---|---:|---:|---:|",
        flush=True,
    )
    rng = np.random.default_rng(0)
    for title, shapes in (("all that the prior was set by", USED), ("all others", OTHERS)):
        all_held = []
        for name, curve in shapes.items():
            held, width = [], []
            for turn in range(draws):
                # The same records at every size, of which some are harder; training runs differ by 1.5 points.
                records, points = (200, 400, 1000)[turn % 3], []
                hard = rng.normal(size=records)
                for size in TRIED:
                    accuracy = np.clip(curve(size) + rng.normal() * 0.015, 0.01, 0.99)
                    right = norm.ppf(accuracy) * np.sqrt(2) + hard + rng.normal(size=records) > 0
                    points.append(Point(size, right.astype(float)))
                truth = np.clip(curve(SIZE) + rng.normal() * 0.015, 0, 1)
                [found] = extrapolate(points, [SIZE], chance=CHANCE)
                held.append(found.low <= truth <= found.high)
                width.append(found.high - found.low)
            all_held += held
            shown = f"{100 * curve(SIZE):.1f} | {100 * np.mean(held):.0f} | {100 * np.mean(width):.0f}"
            print(f"| {name} | {shown} |", flush=True)
        print(f"| {title}: {len(all_held)} draws | | {100 * np.mean(all_held):.0f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500, help="of each confidence and number of decisions")
    parser.add_argument("--curves", type=int, default=15, help="draws of each curve")
    options = parser.parse_args()
    curves(options.curves)
    print()
    budgets(options.draws)


if __name__ == "__main__":
    main()
