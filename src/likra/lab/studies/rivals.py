"""The same right and wrong answers given to Likra and to what people would use instead."""

import numpy as np
import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import Section, Table, accuracies, p_value, points, share
from likra.lab.rival import RIVALS, Method
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Job
from likra.lab.runner.options import OPTIONS_TITLES, options_credits, options_jobs, options_outcome
from likra.lab.runner.outcome import Outcome, credits
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, table_path
from likra.lab.study import Study, study
from likra.scoring.bootstrap import paired_p_value
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import METHOD_TITLES, normalise, ratio

_WORK = "likra.lab.rivals._jobs"
_BASE, _SFT = Method("base", METHOD_TITLES["base"]), Method("sft", METHOD_TITLES["sft"], 2, "right")
_BASE_LIKRA = Method("base_likra", METHOD_TITLES["base_likra"], 2, "wrong", readings=2)
_OPTIONS = (
    Method("base_options", OPTIONS_TITLES["base_options"]),
    Method("sft_options", OPTIONS_TITLES["sft_options"], 2, "right"),
)
_LIKRA = Method("likra", METHOD_TITLES["likra"], 2, "both", readings=2)
#: The methods that are drawn against size.
_SHOWN = ("likra", "base_likra", "sft", "dpo_reward", "nca_reward", "kto_reward", "reward", "unlikelihood")


def methods() -> dict[str, Method]:
    """All methods: those without training, those with it, and Likra."""
    theirs = [method for name in RIVALS.names() for method in RIVALS[name].methods]
    free, trained = ([method for method in theirs if bool(method.training) is costs] for costs in (False, True))
    return {method.name: method for method in (_BASE, *free, _SFT, *_OPTIONS, *trained, _BASE_LIKRA, _LIKRA)}


@study("rivals")
class Rivals(Study):
    about = "Base, SFT, PMI, DPO, NCA, KTO, unlikelihood, a reward head, merged weights, Likra on the same answers."
    title = "Likra and its rivals"

    def check(self, plan: Plan, task: Task) -> None:
        for name in RIVALS.names():
            RIVALS[name].check()

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        modules = {name: type(RIVALS[name]).__module__ for name in RIVALS.names()}
        beside = {name: module for name, module in modules.items() if not RIVALS[name].own_job}
        pair = plan.own_pair(self.name, _WORK, task, pair=True, rivals=beside)
        return [
            pair,
            *(
                plan.own_pair(name, _WORK, task, pair=False, rivals={name: module})
                for name, module in modules.items()
                if name not in beside
            ),
            *options_jobs(plan, task),
        ]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        plan, known = outcome.plan, methods()
        cost = Cost.load(outcome.folders[0][0])
        listing = options_outcome(outcome)
        of_options = Cost.load(listing.folders[0][0]) if listing else cost
        for size in plan.sizes:
            scores = _scores(outcome, size, known)
            example = outcome.table(BASE, plan.seeds[0], size)
            found = {method: credits(np.stack(values), example) for method, values in scores.items()}
            found |= options_credits(outcome, size)
            drawn = outcome.drawn
            means = {method: drawn.means(credit_SQ) for method, credit_SQ in found.items()}
            for method in (name for name in known if name in found):
                labels = {"method": method, "size": size}
                sheet.add("accuracy", means[method], count=len(example.questions), **labels)
                sheet.add_seeds("accuracy", found[method], plan.seeds, **labels)
                lead, p = means["likra"] - means[method], paired_p_value(found["likra"], found[method])
                sheet.add("difference", lead, method=f"likra-{method}", size=size, p=p)
                own = of_options if method in OPTIONS_TITLES else cost
                training = _training(own, known[method], size / plan.sizes[-1])
                sheet.add("training_gflops", training, **labels)
                sheet.add("judging_gflops", known[method].readings * own.flops / 1e9, **labels)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        titles = {name: method.title for name, method in methods().items()}
        found = pick(rows, quantity="accuracy", seed=-1)
        last = canvas.sizes_of(found)[-1]
        ranked = pick(found, size=last).sort_values("value", kind="stable")
        figure, axes = canvas.blank(6.4, 0.36 * len(ranked) + 1.2)
        for place, method in enumerate(ranked["method"]):
            row = pick(ranked, method=method)
            style = {"fmt": "o", "color": canvas.COLOURS.get(method, canvas.GREEN), "capsize": 4, "ms": 7}
            axes.errorbar(row["value"].tolist(), [place], xerr=canvas.arms(row), **style)
        axes.set_yticks(range(len(ranked)), [titles[method] for method in ranked["method"]], fontsize=11)
        axes.set_xlabel("accuracy (share of questions)")
        axes.set_ylabel("method")
        second, axes = canvas.blank(6.4, 4.4)
        at = canvas.size_axis(axes, canvas.sizes_of(found))
        for method, colour, marker in zip(_SHOWN, canvas.CYCLE, canvas.CYCLE_MARKERS, strict=True):
            some = canvas.by_size(found, method=method)
            if not some.empty:
                colour = canvas.COLOURS.get(method, colour)
                canvas.line(axes, at, some, label=titles[method], colour=colour, marker=marker)
        canvas.accuracy_axis(axes, found[found["method"].isin(_SHOWN)])
        canvas.legend_below(second, axes)
        every = f"Every method after {last} right and {last} wrong answers"
        return [
            canvas.drawn("rivals", every, figure, rows),
            canvas.drawn("rival-curves", "The same against size", second, rows),
        ]

    def say(self, rows: pd.DataFrame) -> Section:
        last, body = rows["size"].max(), []
        titles = {name: method.title for name, method in methods().items()}
        found = pick(rows, size=last, seed=-1)
        for row in each(pick(found, quantity="accuracy").sort_values("value", ascending=False, kind="stable")):
            method = row["method"]
            lead = one(found, quantity="difference", method=f"likra-{method}")
            against = "" if method == "likra" else f"{points(lead)}, {p_value(lead)}"
            training, judging = (
                one(found, quantity=name, method=method)["value"] for name in ("training_gflops", "judging_gflops")
            )
            body.append([titles[method], share(row), against, f"{training:.4g}", f"{judging:.3g}"])
        costs = ["GFLOPs of training", "GFLOPs per question"]
        header = ["method", "accuracy in percent", "Likra minus it, in points", *costs]
        return Section(
            [], [Table(f"after {last} right and {last} wrong answers", header, body), accuracies(rows, titles)]
        )


def _training(cost: Cost, method: Method, part: float) -> float:
    """GFLOPs of training on a part of the questions, at 2 per parameter and token read."""
    tokens = {"": 0.0, "right": cost.right, "wrong": cost.wrong, "both": cost.right + cost.wrong}[method.answers]
    return 2 * cost.parameters * method.training * tokens * part / 1e9


def _scores(outcome: Outcome, size: int, known: dict[str, Method]) -> dict[str, list[Floats]]:
    """Method -> scores [Q, C] of each seed."""
    plan, (pairs, *others) = outcome.plan, outcome.folders
    names = [name for name in RIVALS.names() if RIVALS[name].own_job]
    found: dict[str, list[Floats]] = {}
    for place, pair in enumerate(pairs):
        table = Likelihoods.load(table_path(pair, "own", size))
        base, positive, negative = (table.head(name) for name in (BASE, POSITIVE, NEGATIVE))
        scores = {
            "base": base,
            "sft": positive,
            "base_likra": ratio(base, negative, plan.weight),
            "likra": ratio(positive, negative, plan.weight),
        }
        folders = {name: of_seed[place] for name, of_seed in zip(names, others, strict=False)}  # others follow
        for name in RIVALS.names():
            scores |= RIVALS[name].scores(folders.get(name, pair), size, table)
        for method, scores_QC in scores.items():
            divided = normalise(scores_QC, table, plan.normalisation) if known[method].normalised else scores_QC
            found.setdefault(method, []).append(divided)
    return found
