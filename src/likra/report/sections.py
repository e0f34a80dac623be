"""What a report says about each study beside its figures: sentences and tables, worked out from the rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from likra.judge import METHOD_TITLES
from likra.report.figures import pairs_of, short
from likra.report.titles import CALIBRATION_TITLES, HEAD_TITLES, KIND_TITLES, RIVAL_TITLES, TEST_TITLES, WAYS
from likra.study.results import Row, where


@dataclass(frozen=True)
class Table:
    """A table of text cells."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """Sentences and tables."""

    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def section(study: str, rows: Sequence[Row]) -> Section:
    """What is said of one study."""
    result = Section()
    own = [row for row in rows if row["study"] == study]
    for model, data in pairs_of(own):
        one = _SECTIONS[study](where(own, model=model, data=data))
        name = f"{short(model)}, {short(data)}"
        result.sentences.extend(f"{name}: {sentence}" for sentence in one.sentences)
        result.tables.extend(Table(f"{name}: {table.caption}", table.header, table.rows) for table in one.tables)
    return result


def share(row: Row) -> str:
    """An accuracy in percent, with its interval."""
    return f"{100 * row['value']:.1f}" + _interval(100 * row["low"], 100 * row["high"], ".1f")


def points(row: Row) -> str:
    """A difference of accuracies in points, with its interval."""
    return f"{100 * row['value']:+.1f}" + _interval(100 * row["low"], 100 * row["high"], "+.1f")


def plain(row: Row) -> str:
    """A number, with its interval."""
    return f"{row['value']:.3g}" + _interval(row["low"], row["high"], ".3g")


def _interval(low: float, high: float, form: str) -> str:
    return "" if math.isnan(low) else f" ({low:{form}} to {high:{form}})"


def p_value(row: Row) -> str:
    return "" if math.isnan(row["p"]) else f"p = {row['p']:.2g}"


def _pivot(
    rows: Sequence[Row], caption: str, key: str, titles: dict[str, str], show: Callable[[Row], str], corner: str
) -> Table:
    """One line per size, one column per label."""
    columns = [name for name in titles if any(row[key] == name for row in rows)]
    sizes = sorted({row["size"] for row in rows})
    body = []
    for size in sizes:
        cells = [where(rows, **{key: name, "size": size, "seed": -1}) for name in columns]
        body.append([str(size), *(show(cell[0]) if cell else "" for cell in cells)])
    return Table(caption, [corner, *(titles[name] for name in columns)], body)


_QUESTIONS = "training questions"


def _accuracies(rows: Sequence[Row], titles: dict[str, str], key: str = "method") -> Table:
    found = where(rows, quantity="accuracy", seed=-1)
    return _pivot(found, "accuracy in percent, 95% interval", key, titles, share, _QUESTIONS)


def _curve(rows: Sequence[Row]) -> Section:
    sentences, names = [], {"sft": "SFT", "base_likra": "Base-Likra", "likra": "Likra"}
    for method, title in names.items():
        [jump], [at] = (where(rows, quantity=name, method=method) for name in ("jump", "jump_at"))
        sentences.append(
            f"the largest step of {title} adds {points(jump)} points, and ends at {at['value']:.0f} "
            f"({at['low']:.0f} to {at['high']:.0f}) {_QUESTIONS}."
        )
    for row in where(rows, quantity="worth"):
        phase = "in the paper's phase" if row["part"] == "paper" else "around this curve's own jump"
        sentences.append(
            f"from {row['at']:.0f} to {row['size']} {_QUESTIONS} ({phase}), one negative is worth {plain(row)} "
            "positives (the gain of Base-Likra over that of SFT; inf: SFT does not gain)."
        )
    differences = where(rows, quantity="difference")
    titles = {
        "likra-sft": "Likra minus SFT",
        "likra-base_likra": "Likra minus Base-Likra",
        "likra-base": "Likra minus Base",
    }
    table = _pivot(
        differences,
        "differences in points, 95% interval, p of the paired test",
        "method",
        titles,
        lambda row: f"{points(row)}, {p_value(row)}",
        _QUESTIONS,
    )
    return Section(sentences, [_accuracies(rows, METHOD_TITLES), table])


def _models(rows: Sequence[Row]) -> Section:
    sentences = []
    for row in where(rows, quantity="difference"):
        one, _, other = row["method"].partition("-")
        sentences.append(f"{METHOD_TITLES[one]} minus {METHOD_TITLES[other]}: {points(row)} points, {p_value(row)}.")
    return Section(sentences, [_accuracies(rows, METHOD_TITLES)])


def _likelihoods(rows: Sequence[Row]) -> Section:
    tables, sentences = [], []
    for head in ("positive", "incorrect"):
        found = where(rows, method=head)
        title = HEAD_TITLES[head]
        logprobs = where(found, quantity="logprob")
        body = _pivot(
            logprobs,
            f"log-likelihood in nats per answer, {title}",
            "part",
            {"right": "right", "wrong": "wrong"},
            plain,
            _QUESTIONS,
        )
        tables.append(body)
        last = max(row["size"] for row in found)
        change = {row["part"]: row for row in where(found, quantity="change", size=last)}
        [gap] = where(found, quantity="gap_change", size=last)
        sentences.append(
            f"under the {title}, right answers change by {plain(change['right'])} and wrong ones by "
            f"{plain(change['wrong'])} nats; what lies between them changes by {plain(gap)}."
        )
    return Section(sentences, tables)


def _weights(rows: Sequence[Row]) -> Section:
    sentences = []
    for row in where(rows, quantity="best_weight"):
        [gain] = where(rows, quantity="gain_over_no_weight", size=row["size"])
        [loss] = where(rows, quantity="loss_at_one", size=row["size"])
        sentences.append(
            f"after {row['size']} {_QUESTIONS} the best weight is {plain(row)}; weight 1 is {points(gain)} points "
            f"above weight 0, and {points(loss)} below the best."
        )
    return Section(sentences)


def _negatives(rows: Sequence[Row]) -> Section:
    found = where(rows, quantity="accuracy", method="likra")
    table = _pivot(found, "accuracy of Likra in percent, 95% interval", "negatives", KIND_TITLES, share, _QUESTIONS)
    last = max(row["size"] for row in rows)
    sentences = [
        f"after {last} {_QUESTIONS}, {row['negatives']} negatives are {points(row)} points from SFT, {p_value(row)}."
        for row in where(rows, quantity="difference", method="likra-sft", size=last)
    ]
    return Section(sentences, [table])


def _rivals(rows: Sequence[Row]) -> Section:
    last = max(row["size"] for row in rows)
    found = where(rows, size=last, seed=-1)
    body = []
    for row in sorted(where(found, quantity="accuracy"), key=lambda row: -row["value"]):
        method = row["method"]
        [difference] = where(found, quantity="difference", method=f"likra-{method}")
        [training] = where(found, quantity="training_gflops", method=method)
        [judging] = where(found, quantity="judging_gflops", method=method)
        against = "" if method == "likra" else f"{points(difference)}, {p_value(difference)}"
        costs = (f"{training['value']:.4g}", f"{judging['value']:.3g}")
        body.append([RIVAL_TITLES[method], share(row), against, *costs])
    header = ["method", "accuracy in percent", "Likra minus it, in points", "GFLOPs of training", "GFLOPs per question"]
    table = Table(f"after {last} right and {last} wrong answers", header, body)
    titles = {name: title for name, title in RIVAL_TITLES.items() if where(rows, method=name)}
    return Section([], [table, _accuracies(rows, titles)])


def _distractors(rows: Sequence[Row]) -> Section:
    tables = []
    last = max(row["size"] for row in rows)
    sentences = [
        f"with {TEST_TITLES[row['test']]}, training on near-misses is {points(row)} points above training on random "
        f"answers (after {last} {_QUESTIONS})."
        for row in where(rows, quantity="difference", size=last)
    ]
    [matched] = where(rows, quantity="interaction", size=last)
    sentences.append(
        f"that advantage is {points(matched)} points larger against near-misses than against random distractors."
    )
    for test in ("own", "random"):
        found = where(rows, quantity="accuracy", method="likra", test=test)
        caption = f"accuracy of Likra in percent, {TEST_TITLES[test]}"
        tables.append(_pivot(found, caption, "negatives", KIND_TITLES, share, _QUESTIONS))
    return Section(sentences, tables)


def _coverage(rows: Sequence[Row]) -> Section:
    last = max(row["size"] for row in rows)
    groups = dict.fromkeys(row["part"] for row in rows)
    body = []
    for group in groups:
        cells = [where(rows, quantity="accuracy", size=last, part=group, method=m)[0] for m in ("base", "sft", "likra")]
        [gain] = where(rows, quantity="difference", size=last, part=group, method="likra-base")
        [jump], [at] = (where(rows, quantity=name, part=group) for name in ("jump", "jump_at"))
        leap = f"{points(jump)} at {at['value']:.0f} ({at['low']:.0f} to {at['high']:.0f})"
        body.append([group, str(gain["count"]), *map(share, cells), points(gain), leap])
    header = ["group", "questions", "Base", "SFT", "Likra", "Likra minus Base, in points", "Likra's largest step"]
    return Section([], [Table(f"accuracy in percent after {last} {_QUESTIONS}", header, body)])


def _scaling(rows: Sequence[Row]) -> Section:
    titles = {
        "likra-sft": "holding SFT against a negative head",
        "base_likra-base": "holding the base against a negative head",
        "larger base": "the next larger base (from the one before)",
        "larger sft": "SFT on the next larger base (from the one before)",
    }
    sentences = [
        f"{titles[row['method']]} gains {points(row)} points per doubling of the compute of judging."
        for row in where(rows, quantity="per_doubling")
    ]
    return Section(sentences, [_accuracies(rows, METHOD_TITLES)])


def _paraphrase(rows: Sequence[Row]) -> Section:
    last = max(row["size"] for row in rows)
    sentences = []
    for method in ("base", "sft", "likra"):
        [moved] = where(rows, quantity="difference", method=method, size=last)
        [same] = where(rows, quantity="agreement", method=method, size=last)
        sentences.append(
            f"in other words, {METHOD_TITLES[method]} changes by {points(moved)} points (after {last} {_QUESTIONS}); "
            f"it picks the same answer for {share(same)} percent of the questions."
        )
    tables = [
        Table(f"{table.caption}; {TEST_TITLES[test]}", table.header, table.rows)
        for test in ("own", "reworded")
        for table in [_accuracies(where(rows, test=test), METHOD_TITLES)]
    ]
    return Section(sentences, tables)


def _mechanism(rows: Sequence[Row]) -> Section:
    last = max(row["size"] for row in where(rows, quantity="position"))
    block = str(max(int(row["part"]) for row in where(rows, quantity="position")))

    def one(quantity: str, **labels: object) -> Row:
        return where(rows, quantity=quantity, **labels)[0]

    at_end = {"size": last, "part": block}
    sentences = [
        "on the axis of voices (0: reliable, 1: unreliable; last block), bare prompts stand at "
        f"{plain(one('position', method='base', **at_end))} in the base, at "
        f"{plain(one('position', method='incorrect', **at_end))} under the negative head and at "
        f"{plain(one('position', method='positive', **at_end))} under the positive head, after {last} {_QUESTIONS}.",
        "the negative head's shift has a cosine of "
        f"{plain(one('alignment', method='incorrect', **at_end))} with that axis "
        f"({plain(one('chance', method='incorrect', **at_end))} with a random direction).",
        f"held against the base, the negative head reaches {share(one('accuracy', method='base_likra', size=last))} "
        f"percent; one direction in its place {share(one('accuracy', method='transplant', part='axis'))}, a random "
        f"direction of the same length {share(one('accuracy', method='transplant', part='random'))}, an unreliable "
        f"source named in the prompt {share(one('accuracy', method='named', part='base_against_unreliable'))}; the "
        f"base alone {share(one('accuracy', method='base', size=last))}.",
    ]
    steps = where(rows, quantity="accuracy", method="first_step")
    best = max(steps, key=lambda row: row["value"])
    [single] = where(steps, at=1.0, size=best["size"])
    sentences.append(
        f"one gradient step on {best['size']} wrong answers gives {share(single)} percent, and {share(best)} if it is "
        f"taken {best['at']:.0f} times as far (the best of those tried; on the test questions, so a little flattered)."
    )
    first = min(row["size"] for row in where(rows, quantity="cosine", method="incorrect"))
    sentences.append(
        f"after {first} {_QUESTIONS} the negative head's update already has a cosine of "
        f"{plain(one('cosine', method='incorrect', size=first))} with its last one; its stable rank goes from "
        f"{plain(one('rank', method='incorrect', size=first))} to {plain(one('rank', method='incorrect', size=last))}."
    )
    heads = {"positive": "positive head", "incorrect": "negative head"}
    tables = [
        _pivot(where(rows, quantity=quantity), caption, "method", heads, plain, _QUESTIONS)
        for quantity, caption in (
            ("cosine", "cosine of the update with the last one"),
            ("rank", "stable rank of the update"),
        )
    ]
    for quantity, caption in (
        ("position", "position on the axis of voices"),
        ("alignment", "cosine of the shift with the axis"),
    ):
        found = where(rows, quantity=quantity, method="incorrect")
        blocks = {name: f"block {name}" for name in dict.fromkeys(row["part"] for row in found)}
        tables.append(_pivot(found, f"{caption}, negative head", "part", blocks, plain, _QUESTIONS))
    return Section(sentences, tables)


def _calibration(rows: Sequence[Row]) -> Section:
    last, tables, sentences = max(row["size"] for row in rows), [], []
    for method in ("base", "sft", "likra"):
        found = where(rows, quantity="ece", method=method)
        caption = f"expected calibration error of {METHOD_TITLES[method]}, mean and 95% interval over seeds"
        tables.append(_pivot(found, caption, "part", CALIBRATION_TITLES, plain, _QUESTIONS))
        risk = where(rows, quantity="risk", method=method, part="temperature")
        [half], [whole] = (where(risk, at=coverage) for coverage in (0.5, 1.0))
        [chance] = where(rows, quantity="ece_by_chance", method=method, part="temperature", size=last)
        before, after = (where(found, part=part, size=last)[0] for part in ("softmax", "temperature"))
        sentences.append(
            f"{METHOD_TITLES[method]} has a calibration error of {plain(before)} as it is and {plain(after)} with a "
            f"temperature, after {last} {_QUESTIONS}; exactly right probabilities of as many answers would have "
            f"{plain(chance)}, by chance."
        )
        sentences.append(
            f"{METHOD_TITLES[method]} after {last} {_QUESTIONS} gives {share(whole)} percent wrong answers if it "
            f"answers always, {share(half)} if it answers the half of which it is surest."
        )
    return Section(sentences, tables)


def _generation(rows: Sequence[Row]) -> Section:
    tables = []
    for part, name in (("greedy", "the likeliest token at each place"), ("drawn", "drawn at temperature 1")):
        body = []
        for way, title in WAYS.items():
            found = where(rows, method=way, part=part)
            if not found:
                continue
            [true], [false] = (where(found, quantity=quantity) for quantity in ("true", "false"))
            against = [f"{points(row)}, {p_value(row)}" for row in where(found, quantity="difference")]
            body.append([title, share(true), share(false), *(against or [""])])
        header = ["who writes", "true, in percent", "false, in percent", "true, minus SFT with the cut-off, in points"]
        tables.append(Table(f"answers to {rows[0]['count']} questions, {name}", header, body))
    [both] = where(rows, quantity="difference", method="likra-1", part="drawn")
    sentence = f"drawn, both heads (a=1) are true {points(both)} points more often than SFT with the same cut-off"
    return Section([f"{sentence}, {p_value(both)}."], tables)


_SECTIONS: dict[str, Callable[[Sequence[Row]], Section]] = {
    "curve": _curve,
    "models": _models,
    "likelihoods": _likelihoods,
    "weights": _weights,
    "negatives": _negatives,
    "rivals": _rivals,
    "distractors": _distractors,
    "coverage": _coverage,
    "scaling": _scaling,
    "mechanism": _mechanism,
    "paraphrase": _paraphrase,
    "calibration": _calibration,
    "generation": _generation,
}
