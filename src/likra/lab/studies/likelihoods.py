"""Figures 2 and 6: log-likelihood of right and wrong answers under each head, as training goes on."""

import numpy as np
import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import HEAD_TITLES, QUESTIONS, Section, pivot, plain
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.results import Sheet, one, pick
from likra.lab.runner.task import NEGATIVE, POSITIVE
from likra.lab.study import Study, study
from likra.scoring.bootstrap import Resampled
from likra.scoring.likelihoods import BASE, Floats, Ints


@study("likelihoods")
class LogLikelihoods(Study):
    about = "Figures 2 and 6: log-likelihood of right and wrong answers under each head, as training goes on."
    title = "Likelihoods of right and wrong answers"

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        drawn = outcome.drawn
        for size in outcome.plan.sizes:
            table = outcome.table(BASE, outcome.plan.seeds[0], size)
            before = _right_and_wrong(table.once(outcome.logprobs(BASE, size)), table.answers_Q, drawn)
            for head in (POSITIVE, NEGATIVE):
                means = _right_and_wrong(table.once(outcome.logprobs(head, size)), table.answers_Q, drawn)
                change = {part: means[part] - before[part] for part in means}
                for part, mean_R in means.items():
                    sheet.add("logprob", mean_R, method=head, part=part, size=size)
                    sheet.add("change", change[part], method=head, part=part, size=size)
                apart_R = change["right"] - change["wrong"]
                sheet.add("gap", means["right"] - means["wrong"], method=head, size=size)
                sheet.add("gap_change", apart_R, method=head, size=size)
                # The change of the gap, beyond half of what right answers gain.
                sheet.add("gap_excess", apart_R - change["right"] / 2, method=head, size=size)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="logprob")
        figure, both = canvas.blank(7.6, 4.0, columns=2, sharey=True)
        for axes, (head, title) in zip(both, HEAD_TITLES.items(), strict=True):
            at = canvas.size_axis(axes, canvas.sizes_of(found), QUESTIONS)
            for part, colour, marker in (("right", canvas.GREEN, "o"), ("wrong", canvas.PINK, "v")):
                some = canvas.by_size(found, method=head, part=part)
                canvas.line(axes, at, some, label=f"{part} answers", colour=colour, marker=marker)
            axes.set_title(title, fontsize=13)
        both[0].set_ylabel("log-likelihood (nats per answer)")
        canvas.legend(both[0])
        gaps = pick(rows, quantity="gap")
        second, axes = canvas.blank()
        at = canvas.size_axis(axes, canvas.sizes_of(gaps))
        for head, (colour, marker) in canvas.HEADS.items():
            some = canvas.by_size(gaps, method=head)
            canvas.line(axes, at, some, label=HEAD_TITLES[head], colour=colour, marker=marker)
        axes.axhline(0, color=canvas.GREY, lw=1)
        axes.set_ylabel("right minus wrong\n(nats per answer)")
        canvas.legend(axes)
        return [
            canvas.drawn("likelihoods", "Mean log-likelihood of test answers under each head", figure, rows),
            canvas.drawn("gaps", "How much likelier right answers are than wrong ones", second, rows),
        ]

    def say(self, rows: pd.DataFrame) -> Section:
        tables, sentences, last = [], [], rows["size"].max()
        for head, title in HEAD_TITLES.items():
            found = pick(rows, method=head)
            caption = f"log-likelihood in nats per answer, {title}"
            parts = {"right": "right", "wrong": "wrong"}
            tables.append(pivot(pick(found, quantity="logprob"), caption, "part", parts, plain))
            right, wrong = (one(found, quantity="change", size=last, part=part) for part in parts)
            gap = one(found, quantity="gap_change", size=last)
            sentences.append(
                f"under the {title}, right answers change by {plain(right)} and wrong ones by {plain(wrong)} nats; "
                f"what lies between them changes by {plain(gap)}."
            )
        return Section(sentences, tables)


def _right_and_wrong(logprob_SQC: Floats, answers_Q: Ints, drawn: Resampled) -> dict[str, Floats]:
    """Mean log-likelihood of right and of wrong answers, [1 + R] each."""
    right_QC = np.arange(logprob_SQC.shape[2]) == answers_Q[:, None]
    right_SQ = np.nansum(np.where(right_QC, logprob_SQC, 0.0), axis=2)
    wrong_SQ = np.nanmean(np.where(right_QC, np.nan, logprob_SQC), axis=2)
    return {"right": drawn.means(right_SQ), "wrong": drawn.means(wrong_SQ)}
