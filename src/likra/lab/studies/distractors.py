"""Near-miss or random training negatives against near-miss or random test distractors, in all four combinations."""

import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import KIND_TITLES, QUESTIONS, TEST_TITLES, Section, pivot, points, share
from likra.lab.runner.jobs import Job
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.runner.task import NEGATIVE, Task
from likra.lab.study import Study, study

KINDS = (NEGATIVE, "irrelevant")


@study("distractors")
class Distractors(Study):
    about = "Near-miss or random negatives in training against near-miss or random distractors in the test."
    title = "Quality of negatives against quality of distractors"
    tests = ("own", "random")

    def check(self, plan: Plan, task: Task) -> None:
        task.check_kind("irrelevant")

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        return [plan.pair(task), plan.heads(task, ("irrelevant",), self.tests)]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        for size in outcome.plan.sizes:
            means = {
                (kind, test): outcome.means("likra", size, test=test, negatives=kind)
                for kind in KINDS
                for test in self.tests
            }
            for (kind, test), mean_R in means.items():
                sheet.add("accuracy", mean_R, method="likra", negatives=kind, test=test, size=size)
            for test in self.tests:
                for method in ("base", "sft"):
                    mean_R = outcome.means(method, size, test=test)
                    sheet.add("accuracy", mean_R, method=method, test=test, size=size)
                better_R = means[NEGATIVE, test] - means["irrelevant", test]
                sheet.add("difference", better_R, method="incorrect-irrelevant", test=test, size=size)
            matched_R = (means[NEGATIVE, "own"] - means["irrelevant", "own"]) - (
                means[NEGATIVE, "random"] - means["irrelevant", "random"]
            )
            sheet.add("interaction", matched_R, method="likra", size=size)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        figure, both = canvas.blank(7.6, 4.0, columns=2, sharey=True)
        for axes, test in zip(both, self.tests, strict=True):
            some = pick(found, test=test)
            at = canvas.size_axis(axes, canvas.sizes_of(some), QUESTIONS)
            for kind, learned, colour, marker in (
                (NEGATIVE, "near-misses", canvas.RED, "o"),
                ("irrelevant", "random answers", canvas.ORANGE, "^"),
            ):
                label = f"trained on {learned}"
                canvas.line(axes, at, canvas.by_size(some, negatives=kind), label=label, colour=colour, marker=marker)
            for method in ("sft", "base"):
                canvas.method_line(axes, at, canvas.by_size(some, method=method), method)
            axes.set_title(TEST_TITLES[test], fontsize=13)
        canvas.accuracy_axis(both[0], found)
        canvas.legend_below(figure, both[0])
        return [canvas.drawn("distractors", "Likra by training negatives and test distractors", figure, rows)]

    def say(self, rows: pd.DataFrame) -> Section:
        last = rows["size"].max()
        sentences = [
            f"with {TEST_TITLES[row['test']]}, training on near-misses is {points(row)} points above training on "
            f"random answers (after {last} {QUESTIONS})."
            for row in each(pick(rows, quantity="difference", size=last))
        ]
        matched = one(rows, quantity="interaction", size=last)
        sentences.append(
            f"that advantage is {points(matched)} points larger against near-misses than against random distractors."
        )
        found = pick(rows, quantity="accuracy", method="likra")
        captions = {test: f"accuracy of Likra in percent, {TEST_TITLES[test]}" for test in self.tests}
        tables = [
            pivot(pick(found, test=test), caption, "negatives", KIND_TITLES, share)
            for test, caption in captions.items()
        ]
        return Section(sentences, tables)
