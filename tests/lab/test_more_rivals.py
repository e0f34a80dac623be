"""The rivals that likra trains itself, the probe and the prompted contrast, against formulas worked by hand."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from likra.data import Prompter, Question, TokenizedExample
from likra.errors import InputError
from likra.lab.rival import RIVALS, jobs_of, pair_job
from likra.lab.rivals import _jobs, _tuning, contrast, probe, verifier
from likra.lab.rivals._tuning import CHOSEN
from likra.lab.runner.cost import Cost
from likra.lab.runner.heads import cost_of
from likra.lab.runner.jobs import Job, run_job
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task, seed_folder, table_path
from likra.lab.study import STUDIES, with_options
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import Likelihoods
from likra.training.config import TrainingConfig
from tests.conftest import tiny_base
from tests.lab.test_curve import small_task
from tests.lab.test_rivals import by_hand

LORA = lora_config(r=4, lora_alpha=8)


def config(rate: float = 1e-2) -> TrainingConfig:
    return TrainingConfig(lora=LORA, learning_rate=rate, per_device_train_batch_size=2)


@pytest.fixture
def base(tokenizer: Any) -> Base:
    return tiny_base(tokenizer)


@pytest.fixture
def task(base: Base, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    return small_task(base, questions, tmp_path, monkeypatch)


def quiet(done: int, total: int, note: str = "") -> None:
    """Tells nobody."""


def run(name: str, plan: Plan, folder: Path, **more: Any) -> Job:
    job = jobs_of(plan, plan.tasks[0], name, **more)[plan.seeds[0]]
    run_job(job, folder, quiet)
    return job


def base_table(task: Task) -> Likelihoods:
    from likra.engine.loglikelihood import score

    return score(task.base(), None, task.test(), task.test_prompter)


def loglikelihood(base: Base, context: tuple[int, ...], completion: tuple[int, ...]) -> float:
    return sum(map(math.log, by_hand(base.model, context, completion)))


def pairs_of(task: Task, question: Question) -> list[TokenizedExample]:
    return [task.base().encode_pair(*pair) for pair in task.test_prompter.pairs(question)]


def updates(stack: HeadStack, name: str) -> dict[str, torch.Tensor]:
    """scaling * B A of each layer."""
    return {path: stack.scaling(name) * (b @ a) for path, (a, b) in stack.weights(name).items()}


@pytest.mark.parametrize(("name", "weight"), [("listwise", 1.0), ("joint", 1.0), ("joint", 0.5)])
def test_what_chooses_is_trained_and_scored_as_a_plain_loop_does(
    name: str, weight: float, task: Task, base: Base, tokenizer: Any, tmp_path: Path
) -> None:
    """Weights that are updated themselves (W + B A), one text at a time; no stack, no packing, no loss class."""
    plan = Plan((task,), sizes=(0, 2, 4), seeds=(3,), config=config(), weight=weight)
    run(name, plan, tmp_path / "job")
    pair = base_table(task)
    scores = {size: RIVALS[name].scores(tmp_path / "job", size, pair)[name] for size in plan.sizes}

    heads = ["positive", "negative"][: 2 if name == "joint" else 1]
    first = HeadStack(base, heads, lora=LORA, seeds=[6, 7][: len(heads)])
    a = {h: {path: one.clone().requires_grad_() for path, (one, _) in first.weights(h).items()} for h in heads}
    b = {h: {path: one.clone().requires_grad_() for path, (_, one) in first.weights(h).items()} for h in heads}
    first.remove()
    adam = torch.optim.Adam([x for some in (a, b) for h in heads for x in some[h].values()], lr=1e-2)

    def likely(head: str, one: TokenizedExample) -> torch.Tensor:
        weights = dict(base.model.named_parameters())
        changed = {
            f"{path}.weight": weights[f"{path}.weight"] + 2.0 * (b[head][path] @ a[head][path]) for path in a[head]
        }
        said = torch.func.functional_call(base.model, changed, (torch.tensor([one.inputs]),))
        logprobs = said.logits[0, -len(one.completion) :].log_softmax(-1)
        return logprobs[range(len(one.completion)), list(one.completion)].sum()

    def scored(one: TokenizedExample) -> torch.Tensor:
        found = likely("positive", one)
        return found - weight * likely("negative", one) if name == "joint" else found

    def compare(size: int) -> None:
        for row, question in enumerate(task.test()):
            with torch.no_grad():
                expected = [scored(one).item() for one in pairs_of(task, question)]
            assert scores[size][row, : len(expected)].tolist() == pytest.approx(expected, abs=2e-3)

    compare(0)
    drawn = task.drawn(4, 3)
    right, wrong = (task.examples(head, drawn, 3, tmp_path) for head in ("positive", "incorrect"))
    for start in (0, 2):
        loss = torch.zeros(())
        for [good], [bad] in list(zip(right, wrong, strict=True))[start : start + 2]:
            both = [scored(base.encode_pair(one.prompt, one.completion)) for one in (good, bad)]
            loss = loss - torch.stack(both).log_softmax(0)[0] / 2
        adam.zero_grad()
        loss.backward()
        adam.step()
        compare(start + 2)
    assert Likelihoods.load(table_path(tmp_path / "job", name, 4)).meta["weight"] == (weight if name == "joint" else 1)


def test_the_verifiers_score_is_the_difference_of_logits(task: Task, base: Base, tmp_path: Path) -> None:
    """Untrained, it is the base's; and its question is worded as its module says."""
    plan = Plan((task,), sizes=(0, 4), seeds=(0,), config=config())
    run("verifier", plan, tmp_path / "job")
    pair = base_table(task)
    untrained, trained = (RIVALS["verifier"].scores(tmp_path / "job", size, pair)["verifier"] for size in (0, 4))
    tokens = 0
    for row, question in enumerate(task.test()):
        for place, choice in enumerate(question.choices):
            text = f"Question: {question.text}\nAnswer: {choice}\nIs this answer right?"
            yes, no = (base.encode_pair(text, answer) for answer in (" Yes", " No"))
            expected = loglikelihood(base, yes.context, yes.completion) - loglikelihood(base, no.context, no.completion)
            assert untrained[row, place] == pytest.approx(expected, abs=1e-3)
            if len(yes.completion) == len(no.completion) == 1:
                with torch.no_grad():
                    logits = base.model(torch.tensor([yes.context])).logits[0, -1]
                assert expected == pytest.approx(
                    (logits[yes.completion[0]] - logits[no.completion[0]]).item(), abs=1e-3
                )
            tokens += len(yes.inputs)
        assert np.isnan(untrained[row, len(question.choices) :]).all()
    assert np.nanmax(np.abs(trained - untrained)) > 1e-3
    cost, of_pair = Cost.load(tmp_path / "job"), cost_of(task, base, {})
    assert of_pair.question < cost.question <= 2 * tokens / len(task.test())
    drawn = task.drawn(4, 0)
    learned = [verifier.verdict(one) for some in task.examples("positive", drawn, 0, tmp_path) for one in some]
    assert cost.right == sum(len(base.encode_pair(one.prompt, one.completion).inputs) for one in learned)


def test_contrasts_are_differences_of_two_readings(task: Task, base: Base, tmp_path: Path) -> None:
    plan = Plan((task,), sizes=(0, 4), seeds=(0, 1))
    job = run("contrast", plan, tmp_path / "job")
    assert set(jobs_of(plan, task, "contrast").values()) == {job}  # one for all seeds, whatever the sizes
    assert jobs_of(dataclasses.replace(plan, sizes=(0, 8), config=config()), task, "contrast")[0] == job
    scores = RIVALS["contrast"].scores(tmp_path / "job", 4, base_table(task))
    assert list(scores) == list(contrast.WORDINGS)
    for name, wish in contrast.WORDINGS.items():
        for row, question in enumerate(task.test()):
            for place, choice in enumerate(question.choices):
                plainly = base.encode_pair(f"Question: {question.text}\nAnswer:", f" {choice}")
                asked = base.encode_pair(f"Question: {wish} {question.text}\nAnswer:", f" {choice}")
                expected = loglikelihood(base, plainly.context, plainly.completion)
                expected -= loglikelihood(base, asked.context, asked.completion)
                assert scores[name][row, place] == pytest.approx(expected, abs=1e-3)
    pair = Cost(parameters=1, question=100.0, right=0, wrong=0)
    method = next(method for method in RIVALS["contrast"].methods if method.name == "contrast-1")
    longer = RIVALS["contrast"].cost(method, tmp_path / "job", pair).question - 100
    plain = cost_of(task, base, {}).question
    assert plain < longer < 2 * plain + 20


def test_a_wish_stands_before_the_question_and_not_before_the_examples(questions: list[Question]) -> None:
    [(context, completion), *_] = contrast.wished(
        questions[:1], Prompter("qa", shots=1, pool=questions[4:8]), "Lie."
    ).pairs(questions[0])
    asked = str(context).split("\n\n")
    assert len(asked) == 2 and "Lie." not in asked[0] and asked[1].startswith("Question: Lie. Which animal")
    assert completion == " goat 0"


def test_the_probes_features_are_the_last_hidden_states(task: Task, base: Base) -> None:
    pairs = [pair for question in task.test() for pair in pairs_of(task, question)]
    found = probe.states(base, pairs, {})
    for row, pair in enumerate(pairs):
        with torch.no_grad():
            ids = torch.tensor([pair.context + pair.completion])
            expected = base.model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        assert found[row].tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_probe_is_logistic_regression_on_two_features() -> None:
    """The objective of scikit-learn's documentation, minimised by another program; C is the one of best log-loss."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(40, 2)) + np.tile([[0.8, 0.0], [-0.8, 0.3]], (20, 1))
    right = np.tile([1.0, 0.0], 20)

    def fit(x: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
        def objective(theta: np.ndarray) -> float:
            odds = x @ theta[:-1] + theta[-1]
            return 0.5 * theta[:-1] @ theta[:-1] + c * np.logaddexp(0, np.where(y == 1, -odds, odds)).sum()

        return minimize(objective, np.zeros(x.shape[1] + 1), tol=1e-10).x

    def predict(some: np.ndarray, c: float, x: np.ndarray) -> np.ndarray:
        centre, scale = states[some].mean(0), states[some].std(0)
        theta = fit((states[some] - centre) / scale, right[some], c)
        return (x - centre) / scale @ theta[:-1] + theta[-1]

    from sklearn.model_selection import GroupKFold

    question = np.repeat(np.arange(20), 2)
    losses = {}
    for c in probe.CS:
        found = []
        for some, held in GroupKFold(5).split(states, right, question):
            odds = predict(some, c, states[held])
            found.append(np.logaddexp(0, np.where(right[held] == 1, -odds, odds)).mean())
        losses[c] = np.mean(found)
    best = min(losses, key=lambda c: losses[c])
    new = rng.normal(size=(5, 2))
    everyone = np.arange(40)
    assert probe.fitted(states)(new).tolist() == pytest.approx(predict(everyone, best, new).tolist(), abs=1e-2)
    assert probe.fitted(states[:0])(new).tolist() == [0.0] * 5
    assert probe.fitted(states[:2])(states[:1])[0] > 0 > probe.fitted(states[:2])(states[1:2])[0]


def test_a_probe_of_one_job_for_all_seeds(task: Task, base: Base, tmp_path: Path) -> None:
    plan = Plan((task,), sizes=(0, 4), seeds=(0, 1), config=config())
    assert len(set(jobs_of(plan, task, "probe").values())) == 1
    run("probe", plan, tmp_path / "job")
    pair = base_table(task)
    for seed in plan.seeds:
        folder = seed_folder(tmp_path / "job", plan.seeds, seed)
        drawn = task.drawn(4, seed)
        answers = [
            base.encode_pair(one.prompt, one.completion)
            for good, bad in zip(
                *(task.examples(head, drawn, seed, folder) for head in ("positive", "incorrect")), strict=True
            )
            for one in (*good, *bad)
        ]
        model = probe.fitted(probe.states(base, answers, {}))
        found = RIVALS["probe"].scores(folder, 4, pair)["probe"]
        for row, question in enumerate(task.test()):
            expected = model(probe.states(base, pairs_of(task, question), {}))
            assert found[row, : len(expected)].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
        untrained = RIVALS["probe"].scores(folder, 0, pair)["probe"]
        assert set(untrained[~np.isnan(untrained)]) == {0.0}


def test_folds_share_no_question_and_leave_the_test_alone(task: Task) -> None:
    drawn = task.drawn(7, 1)
    halves = [dataclasses.replace(task, fold=(1, 7, half)) for half in (0, 1)]
    assert [len(half.test()) for half in halves] == [4, 3]
    for half, other in (halves, halves[::-1]):
        assert half.drawn(7, 1) == other.test()
        assert sorted(q.id for q in [*half.test(), *other.test()]) == sorted(q.id for q in drawn)
        settings = {**half.settings(), "seeds": [1]}
        assert Task.of(json.loads(json.dumps(settings))) == half
    assert "fold" not in task.settings()["task"]  # which would give every job another name
    assert not {q.id for q in drawn} & {q.id for q in task.test()}


TUNE = {"tune": {"rates": [1e-4, 2e-2], "weight": 1.0, "normalisation": "raw"}}


def test_the_rate_is_that_of_the_highest_accuracy_on_the_other_half(task: Task, tmp_path: Path) -> None:
    """Every trial again, as a job of its own with a plan of its own."""
    plan = Plan((task,), sizes=(0, 4, 8), seeds=(0, 1), config=config())
    run("listwise", plan, tmp_path / "tuned", **TUNE)
    kept = [json.loads((seed_folder(tmp_path / "tuned", plan.seeds, seed) / CHOSEN).read_text()) for seed in plan.seeds]
    assert kept[0] == kept[1]
    for tried in kept[0]["tried"]:
        credit, logs = [], []
        for half in (0, 1):
            fold = dataclasses.replace(task, fold=(0, 8, half))
            own = Plan((fold,), sizes=(4,), seeds=(0,), config=config(tried["learning_rate"]))
            place = tmp_path / f"{tried['learning_rate']}-{half}"
            run("listwise", own, place)
            scores = RIVALS["listwise"].scores(place, 4, base_table(fold))["listwise"]
            for row, question in enumerate(fold.test()):
                values = scores[row, : len(question.choices)]
                credit.append(float(values.argmax() == question.answer))
                logs.append(values[question.answer] - np.logaddexp.reduce(values))
        assert tried["accuracy"] == pytest.approx(np.mean(credit))
        assert tried["log_score"] == pytest.approx(np.mean(logs), abs=1e-4)
    best = max(kept[0]["tried"], key=lambda one: (one["accuracy"], one["log_score"], -one["learning_rate"]))
    assert kept[0]["chosen"] == best["learning_rate"]
    # All seeds and sizes are as without a choice, at that rate.
    for seed in plan.seeds:
        alone = dataclasses.replace(plan, seeds=(seed,), config=config(kept[0]["chosen"]))
        run("listwise", alone, tmp_path / f"alone{seed}")
        for size in plan.sizes:
            ours = table_path(seed_folder(tmp_path / "tuned", plan.seeds, seed), "listwise", size)
            theirs = table_path(tmp_path / f"alone{seed}", "listwise", size)
            np.testing.assert_array_equal(
                Likelihoods.load(ours).head("positive"), Likelihoods.load(theirs).head("positive")
            )


def test_ties_are_broken_by_the_log_score_then_by_the_lower_rate(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads(
        next(iter(pair_job(Plan((task,), sizes=(8,), seeds=(0,), config=config()), task, {}, **TUNE).values())).settings
    )
    for number, (measured, expected) in enumerate(
        [
            ({1e-4: (0.5, -1.0), 3e-4: (0.6, -9.0), 1e-3: (0.6, -2.0)}, 1e-3),
            ({1e-4: (0.6, -2.0), 3e-4: (0.6, -2.0), 1e-3: (0.5, -1.0)}, 1e-4),
            ({1e-4: (-np.inf, -np.inf), 3e-4: (0.1, -np.inf), 1e-3: (-np.inf, -np.inf)}, 3e-4),
        ]
    ):
        settings["tune"]["rates"] = list(measured)
        monkeypatch.setattr(_tuning, "_tried", lambda settings, rate, *_, measured=measured: measured[rate])
        assert _tuning.chosen(settings, _jobs.__name__, tmp_path / str(number), quiet) == expected


@pytest.mark.parametrize("name", ["pair", "joint", "verifier"])
def test_a_job_that_is_killed_while_it_chooses_ends_the_same(
    name: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan((task,), sizes=(0, 4), seeds=(0, 1), config=config())
    jobs = pair_job(plan, task, {}, **TUNE) if name == "pair" else jobs_of(plan, task, name, **TUNE)
    [job] = set(jobs.values())
    run_job(job, tmp_path / "whole", quiet)
    done: list[str] = []
    real = run_job

    def killed(one: Job, folder: Path, note: Any) -> None:
        if len(done) in (1, 3, 5):  # in a trial, after two, in the second seed
            done.append("")
            raise KeyboardInterrupt
        done.append(str(folder))
        real(one, folder, note)

    for module in (_tuning, _jobs):
        monkeypatch.setattr(module, "run_job", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            real(job, tmp_path / "killed", quiet)
    real(job, tmp_path / "killed", quiet)
    files = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "killed") for path in (tmp_path / "killed").rglob("*") if path.is_file()}
    assert files == again and not [path for path in files if "state" in path.parts]
    for path in files:
        assert (tmp_path / "whole" / path).read_bytes() == (tmp_path / "killed" / path).read_bytes(), path


def test_options_are_checked(task: Task) -> None:
    study, plan = STUDIES["rivals"], Plan((task,), sizes=(0, 1), seeds=(0,))
    found = study.configure(plan, only="joint, pmi", try_lr="1e-3,1e-4")
    assert found.options["rates"] == [1e-4, 1e-3]
    names = [next(iter(jobs.values()))["name"] for jobs in study.by_seed(found, task)]
    assert names == ["rivals", "pmi", "joint", "heads"]  # the last: on prompts that list the options
    with pytest.raises(InputError, match="nothing: is not a rival"):
        study.configure(plan, only="nothing")
    for wrong in ("x", "", "0", "-1e-3", "inf"):
        with pytest.raises(InputError, match="--try-lr"):
            study.configure(plan, try_lr=wrong)
    with pytest.raises(InputError, match="two training questions or more"):
        study.check(found, task)
    study.check(with_options(plan, only=["pmi"]), task)
