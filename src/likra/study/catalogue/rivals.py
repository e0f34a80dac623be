"""The same right and wrong answers given to Likra and to what people would use instead."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from likra.judge.bootstrap import Resampled, estimate, paired_p_value
from likra.judge.scores import normalise, ratio
from likra.likelihood.table import BASE, Floats, Likelihoods
from likra.study import rivals as own
from likra.study.cells import Cell, Store
from likra.study.heads import Facts, facts_of, table_path
from likra.study.outcome import credits
from likra.study.plan import Plan
from likra.study.results import Row, Sheet
from likra.study.task import NEGATIVE, POSITIVE, Task
from likra.study.trl import METHODS as TRL_METHODS

TITLE = "Likra and its rivals"
TESTS: tuple[str, ...] = ("own",)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a method takes, in forward passes over a token (a backward pass through a frozen base counts one).

    Attributes:
        training: Passes per training token; of `right`, `wrong` or `both` answers.
        answers: Which answers it trains on.
        readers: Readings of each question when it judges.
    """

    training: int
    answers: str
    readers: int


#: Method -> its title and its cost. Trainers of preferences read each answer with the policy and with the reference;
#: KTO reads a second completion with both, for its KL term.
RIVALS: dict[str, tuple[str, Cost]] = {
    "base": ("Base", Cost(0, "", 1)),
    "pmi": ("PMI", Cost(0, "", 2)),
    "sft": ("SFT", Cost(2, "right", 1)),
    "unlikelihood": ("Unlikelihood", Cost(2, "both", 1)),
    "merged-0.5": ("Merged weights, w=0.5", Cost(2, "both", 1)),
    "merged-1": ("Merged weights, w=1", Cost(2, "both", 1)),
    "dpo": ("DPO, likelihood", Cost(3, "both", 1)),
    "dpo_reward": ("DPO, implicit reward", Cost(3, "both", 2)),
    "nca": ("NCA, likelihood", Cost(3, "both", 1)),
    "nca_reward": ("NCA, implicit reward", Cost(3, "both", 2)),
    "kto": ("KTO, likelihood", Cost(5, "both", 1)),
    "kto_reward": ("KTO, implicit reward", Cost(5, "both", 2)),
    "reward": ("Reward head", Cost(2, "both", 1)),
    "base_likra": ("Base-Likra", Cost(2, "wrong", 2)),
    "likra": ("Likra", Cost(2, "both", 2)),
}


def _cells(plan: Plan, task: Task) -> dict[str, dict[int, Cell]]:
    trained = {method: plan.of_work("trl", task, method=method) for method in TRL_METHODS}
    return {"rivals": plan.of_work("rivals", task), **trained}


def cells(plan: Plan) -> list[Cell]:
    return [cell for task in plan.tasks for by_seed in _cells(plan, task).values() for cell in by_seed.values()]


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        sheet = Sheet("rivals", task)
        folders = {
            work: [store.path(by_seed[seed]) for seed in plan.seeds] for work, by_seed in _cells(plan, task).items()
        }
        facts = facts_of(folders["rivals"][0])
        for size in plan.sizes:
            scores = _scores(plan, folders, size)
            example = Likelihoods.load(table_path(folders["rivals"][0], "own", size))
            found = {method: credits(np.stack(values), example) for method, values in scores.items()}
            drawn = Resampled(len(plan.seeds), len(example.questions))
            means = {method: drawn.means(credit_SQ) for method, credit_SQ in found.items()}
            for method in (name for name in RIVALS if name in found):
                cost = RIVALS[method][1]
                labels = {"method": method, "size": size}
                sheet.add("accuracy", estimate(means[method]), count=len(example.questions), **labels)
                sheet.add_seeds("accuracy", found[method], plan.seeds, **labels)
                sheet.add(
                    "difference",
                    estimate(means["likra"] - means[method]),
                    **labels | {"method": f"likra-{method}"},
                    p=paired_p_value(found["likra"], found[method]),
                )
                sheet.add("training_gflops", _training(facts, cost, size, plan.sizes[-1]), **labels)
                sheet.add("judging_gflops", cost.readers * facts.flops / 1e9, **labels)
        result += sheet.rows
    return result


def _training(facts: Facts, cost: Cost, size: int, sizes: int) -> float:
    """GFLOPs of training on so many questions, at 2 per parameter and token read."""
    tokens = {"": 0.0, "right": facts.right, "wrong": facts.wrong, "both": facts.right + facts.wrong}[cost.answers]
    return 2 * facts.parameters * cost.training * tokens * size / sizes / 1e9


def _scores(plan: Plan, folders: dict[str, list[Path]], size: int) -> dict[str, list[Floats]]:
    """Method -> scores [Q, C] of each seed."""
    found: dict[str, list[Floats]] = {}
    for place in range(len(plan.seeds)):
        for method, scores_QC in _of_seed(plan, {work: of_seed[place] for work, of_seed in folders.items()}, size):
            found.setdefault(method, []).append(scores_QC)
    return found


def _of_seed(plan: Plan, folders: dict[str, Path], size: int) -> Iterator[tuple[str, Floats]]:
    table = Likelihoods.load(table_path(folders["rivals"], "own", size))

    def divided(scores_QC: Floats) -> Floats:
        return normalise(scores_QC, table, plan.normalisation)

    base, positive, negative = (table.head(name) for name in (BASE, POSITIVE, NEGATIVE))
    yield "base", divided(base)
    yield "sft", divided(positive)
    yield "base_likra", divided(ratio(base, negative, plan.weight))
    yield "likra", divided(ratio(positive, negative, plan.weight))
    for method, scores_QC in own.scores(folders["rivals"], size).items():
        yield method, divided(scores_QC)
    for method in TRL_METHODS:
        policy = Likelihoods.load(table_path(folders[method], "own", size)).head(method)
        if method == "reward":
            yield method, policy
        else:
            yield method, divided(policy)
            # What the trainer calls the implicit reward, up to its factor beta.
            yield f"{method}_reward", divided(ratio(policy, base))
