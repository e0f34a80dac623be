"""The same right and wrong answers given to Likra and to what people would use instead."""

import itertools
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from likra.errors import InputError
from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, Table, accuracies, p_value, points, share
from likra.lab.rival import RIVALS, Method, jobs_of, pair_job
from likra.lab.rivals._tuning import rate_of
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Job
from likra.lab.runner.options import OPTIONS_TITLES, options_credits, options_jobs, options_outcome
from likra.lab.runner.outcome import SFT_BASE, SFT_BASE_TITLE, Outcome, credits
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, table_path
from likra.lab.studies._controls import add_shallow
from likra.lab.study import Study, study, with_options
from likra.scoring.bootstrap import paired_p_value
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import METHOD_TITLES, normalise, ratio
from likra.utils.numbers import rates_of

_BASE, _SFT = Method("base", METHOD_TITLES["base"]), Method("sft", METHOD_TITLES["sft"], 2, "right")
_BASE_LIKRA = Method("base_likra", METHOD_TITLES["base_likra"], 2, "wrong", readings=2)
_OPTIONS = (
    Method("base_options", OPTIONS_TITLES["base_options"]),
    Method("sft_options", OPTIONS_TITLES["sft_options"], 2, "right"),
)
_SFT_BASE = Method(SFT_BASE, SFT_BASE_TITLE, 2, "right", readings=2)
_LIKRA = Method("likra", METHOD_TITLES["likra"], 2, "both", readings=2)
#: The methods that are drawn against size.
_SHOWN = ("likra", "base_likra", "sft", "dpo_reward", "joint", "listwise", "reward", "verifier")
#: Methods that learn which answer is right, and not each kind of answers for itself; Likra is held against them.
DISCRIMINATIVE = ("listwise", "joint", "reward")
#: A method is among the best unless the paired test says otherwise at this level.
LEVEL = 0.05


def methods() -> dict[str, Method]:
    """All methods: those without training, those with it, and Likra."""
    theirs = [method for name in RIVALS.names() for method in RIVALS[name].methods]
    free, trained = ([method for method in theirs if bool(method.training) is costs] for costs in (False, True))
    return {method.name: method for method in (_BASE, *free, _SFT, _SFT_BASE, *_OPTIONS, *trained, _BASE_LIKRA, _LIKRA)}


@study("rivals")
class Rivals(Study):
    about = (
        "Base, SFT, PMI, prompted contrasts, a probe, a verifier, DPO, NCA, KTO, unlikelihood, a reward head, listwise "
        "and joint training, merged weights, Likra on the same answers."
    )
    title = "Likra and its rivals"

    def configure(
        self,
        plan: Plan,
        *,
        only: Annotated[
            str | None,
            typer.Option(metavar="NAME,...", help="Rivals to run beside Base, SFT and Likra. [default: all]"),
        ] = None,
        try_lr: Annotated[
            str | None,
            typer.Option(
                metavar="RATE,...",
                help="Learning rates to choose from, for each method by two-fold cross-validation on the first seed's "
                "training questions. [default: --lr for all]",
            ),
        ] = None,
    ) -> Plan:
        names = [name.strip() for name in only.split(",")] if only is not None else None
        for name in names or ():
            RIVALS[name]  # refuses an unknown one
        return with_options(plan, only=names, rates=None if try_lr is None else sorted(rates_of("--try-lr", try_lr)))

    def check(self, plan: Plan, task: Task) -> None:
        if plan.options.get("rates") and plan.sizes[-1] < 2:
            raise InputError("--try-lr: needs two training questions or more (--sizes) to choose by.")
        for name in self._names(plan):
            RIVALS[name].check(task)

    def training(self, plan: Plan) -> str:
        if not (rates := plan.options.get("rates")):
            return super().training(plan)
        tried = ", ".join(f"{rate:g}" for rate in rates)
        return (
            f"learning rate chosen from {tried} by two-fold cross-validation on {plan.sizes[-1]} {QUESTIONS}, for each "
            f"method ({plan.config.learning_rate:g} for SFT with options in the prompt), one epoch"
        )

    def facts(self, plan: Plan, task: Task) -> str:
        return f"rivals {', '.join(self._names(plan))}"

    def _names(self, plan: Plan) -> list[str]:
        only = plan.options.get("only")
        return [name for name in RIVALS.names() if only is None or name in only]

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        names, rates = self._names(plan), plan.options.get("rates")
        beside = {name: type(RIVALS[name]).__module__ for name in names if RIVALS[name].job == "pair"}
        how = {"rates": list(rates), "weight": plan.weight, "normalisation": plan.normalisation} if rates else None
        tune = {"tune": how} if how else {}
        return [
            pair_job(plan, task, beside, **tune),
            *(
                jobs_of(plan, task, name, **(tune if RIVALS[name].job == "seed" else {}))
                for name in names
                if name not in beside
            ),
            *options_jobs(plan, task),
        ]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        plan, known, drawn = outcome.plan, methods(), outcome.drawn
        names, listing = self._names(plan), options_outcome(outcome)
        pair_cost = Cost.load(outcome.named["rivals"][0])
        of_options = Cost.load(listing.folders[0][0]) if listing else pair_cost
        owners = {method.name: name for name in names for method in RIVALS[name].methods}
        for size in plan.sizes:
            scores = _scores(outcome, size, known, names)
            example = outcome.table(BASE, plan.seeds[0], size)
            found = {method: credits(np.stack(scores[method]), example) for method in known if method in scores}
            found |= options_credits(outcome, size)
            means = {method: drawn.means(credit_SQ) for method, credit_SQ in found.items()}
            best = max(means, key=lambda method: means[method][0])
            add_shallow(outcome, sheet, size)
            for method in found:
                lead, p = means["likra"] - means[method], paired_p_value(found["likra"], found[method])
                sheet.add("difference", lead, method=f"likra-{method}", size=size, p=p)
                lead, p = means[best] - means[method], paired_p_value(found[best], found[method])
                sheet.add("behind_best", lead, method=method, part=best, size=size, p=p)
                own = known[method]
                if not own.training and size != plan.sizes[0]:
                    continue  # a method without training is the same at every size
                labels = {"method": method, "size": size if own.training else 0}
                sheet.add("accuracy", means[method], count=len(example.questions), **labels)
                sheet.add_seeds("accuracy", found[method], plan.seeds, **labels)
                owner = owners.get(method)
                folder = outcome.named.get(owner or "", outcome.named["rivals"])[0]
                cost = of_options if method in OPTIONS_TITLES else pair_cost
                cost = RIVALS[owner].cost(own, folder, pair_cost) if owner else cost
                sheet.add("training_gflops", _training(cost, own, size / plan.sizes[-1]), **labels)
                sheet.add("judging_gflops", own.readings * cost.flops / 1e9, **labels)
                if own.training and (owner is None or RIVALS[owner].job in ("pair", "seed")):
                    config = plan.config.as_dict()  # whose rate heads have that list the options: it is not chosen
                    rate = config["learning_rate"] if method in OPTIONS_TITLES else rate_of(folder, config)
                    sheet.add("learning_rate", rate, **labels)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        titles = {name: method.title for name, method in methods().items()}
        found = pick(rows, quantity="accuracy", seed=-1)
        last = canvas.sizes_of(found)[-1]
        ranked = _after(found, last).sort_values("value", kind="stable")
        figure, axes = canvas.blank(6.4, 0.36 * len(ranked) + 1.2)
        for place, method in enumerate(ranked["method"]):
            row = pick(ranked, method=method)
            style = {"fmt": "o", "color": canvas.COLOURS.get(method, canvas.GREEN), "capsize": 4, "ms": 7}
            axes.errorbar(row["value"].tolist(), [place], xerr=canvas.arms(row), **style)
        axes.set_yticks(range(len(ranked)), [titles[method] for method in ranked["method"]], fontsize=11)
        axes.set_xlabel("accuracy (share of questions)")
        axes.set_ylabel("method")
        second, axes = canvas.blank(6.4, 4.4)
        shown = found[found["method"].isin(_SHOWN)]
        at = canvas.size_axis(axes, canvas.sizes_of(shown))
        for method, colour, marker in zip(_SHOWN, canvas.CYCLE, canvas.CYCLE_MARKERS, strict=True):
            some = canvas.by_size(shown, method=method)
            if not some.empty:
                colour = canvas.COLOURS.get(method, colour)
                canvas.line(axes, at, some, label=titles[method], colour=colour, marker=marker)
        canvas.accuracy_axis(axes, shown)
        canvas.legend_below(second, axes)
        every = f"Every method after {last} right and {last} wrong answers"
        return [
            canvas.drawn("rivals", every, figure, rows),
            canvas.drawn("rival-curves", "The same against size", second, rows),
        ]

    def say(self, rows: pd.DataFrame) -> Section:
        titles = {name: method.title for name, method in methods().items()}
        last, body = rows["size"].max(), []
        found = _after(pick(rows, seed=-1), last)
        for row in each(pick(found, quantity="accuracy").sort_values("value", ascending=False, kind="stable")):
            method = row["method"]
            lead = one(rows, quantity="difference", method=f"likra-{method}", size=last)
            against = "" if method == "likra" else f"{points(lead)}, {p_value(lead)}"
            training, judging = (
                one(found, quantity=name, method=method)["value"] for name in ("training_gflops", "judging_gflops")
            )
            rates = pick(found, quantity="learning_rate", method=method)["value"].tolist()
            rate = f"{rates[0]:g}" if rates else ""
            body.append([titles[method], share(row), against, rate, f"{training:.4g}", f"{judging:.3g}"])
        costs = ["learning rate", "GFLOPs of training", "GFLOPs per question"]
        header = ["method", "accuracy in percent", "Likra minus it, in points", *costs]
        return Section(
            [_take(rows, titles), *_crossings(rows, titles)],
            [Table(f"after {last} right and {last} wrong answers", header, body), accuracies(rows, titles)],
        )


def _after(rows: pd.DataFrame, size: int) -> pd.DataFrame:
    """The rows of methods as they are after so many questions: those without training stand at size 0."""
    free = [name for name, method in methods().items() if not method.training]
    return rows[(rows["size"] == size) | ((rows["size"] == 0) & rows["method"].isin(free))]


def _take(rows: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """The sentence on which method a user should take, at each size with training."""
    said = []
    behind = pick(rows, quantity="behind_best")
    for size in canvas.sizes_of(behind[behind["size"] > 0]):
        own = pick(behind, size=size)
        best = own["part"].iloc[0]
        equal = [row["method"] for row in each(own) if row["method"] != best and row["p"] > LEVEL]
        also = f" (not significantly worse: {', '.join(titles[method] for method in equal)})" if equal else ""
        text = f"after {size} {QUESTIONS}, take {titles[best]}, {share(_after_one(rows, best, size))} percent{also}"
        if best != "likra" and "likra" not in equal:
            likra = one(own, method="likra")
            text += f"; Likra is not among the best: it is {share(likra)} points behind, {p_value(likra)}"
        said.append(text)
    return "; ".join(said) + "."


def _after_one(rows: pd.DataFrame, method: str, size: int) -> pd.Series:
    return one(_after(rows, size), quantity="accuracy", method=method)


def _crossings(rows: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    """Sentences on where the curves of Likra, which is generative, and of discriminative methods cross."""
    said = []
    for method in DISCRIMINATIVE:
        found = pick(rows, quantity="difference", method=f"likra-{method}")
        leads = each(found[found["size"] > 0].sort_values("size", kind="stable"))
        if not leads:
            continue
        apart = [row for row in leads if row["value"] != 0]
        where = [
            f"between {before['size']} and {after['size']}"
            for before, after in itertools.pairwise(apart)
            if before["value"] * after["value"] < 0
        ]
        crossed = f"they cross {', and '.join(where)}" if where else "they do not cross"
        clear = [str(row["size"]) for row in leads if row["low"] > 0 or row["high"] < 0]
        sure = f"the interval excludes 0 at {', '.join(clear)}" if clear else "no interval excludes 0"
        each_size = ", ".join(f"{points(row)} at {row['size']}" for row in leads)
        lead = f"generative and discriminative: Likra minus {titles[method]} is {each_size} {QUESTIONS}"
        said.append(f"{lead}; {crossed}; {sure}.")
    return said


def _training(cost: Cost, method: Method, part: float) -> float:
    """GFLOPs of training on a part of the questions, at 2 per parameter and token read."""
    tokens = {"": 0.0, "right": cost.right, "wrong": cost.wrong, "both": cost.right + cost.wrong}[method.answers]
    return 2 * cost.parameters * method.training * tokens * part / 1e9


def _scores(outcome: Outcome, size: int, known: dict[str, Method], names: list[str]) -> dict[str, list[Floats]]:
    """Method -> scores [Q, C] of each seed."""
    plan, pairs = outcome.plan, outcome.named["rivals"]
    found: dict[str, list[Floats]] = {}
    for place, pair in enumerate(pairs):
        table = Likelihoods.load(table_path(pair, "own", size))
        base, positive, negative = (table.head(name) for name in (BASE, POSITIVE, NEGATIVE))
        scores = {
            "base": base,
            "sft": positive,
            SFT_BASE: ratio(positive, base, plan.weight),
            "base_likra": ratio(base, negative, plan.weight),
            "likra": ratio(positive, negative, plan.weight),
        }
        for name in names:
            scores |= RIVALS[name].scores(outcome.named.get(name, pairs)[place], size, table)
        for method, scores_QC in scores.items():
            divided = normalise(scores_QC, table, plan.normalisation) if known[method].normalised else scores_QC
            found.setdefault(method, []).append(divided)
    return found
