"""`--model likra` against the harness's own model, run once per head and put together by hand."""

import importlib.metadata
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import numpy as np
import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model, model_registry
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from typer.testing import CliRunner

from likra import InputError, Likra, TrainingConfig
from likra.cli.app import app
from likra.data import Prompter, Question, Source, load
from likra.engine.loglikelihood import encode_question
from likra.integrations import harness
from likra.integrations.harness import LikraLM, register
from likra.models.base import load_base
from likra.scoring.config import Scoring
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE
from likra.utils.embedded import embedded_models
from likra.utils.runtime import QUIET, Runtime
from tests.engine.test_harness import TASKS, hub_form

logging.getLogger("lm_eval").setLevel(logging.ERROR)
TOLERANCE = 1e-3  # nats
WORLD = embedded_models()["world"]
Values = dict[tuple[str, str], float]

#: What the tasks have in common; each is written as a yaml file, as a user of the harness would.
COMMON = {
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "training_split": "train",
    "test_split": "test",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "fewshot_config": {"sampler": "first_n"},
}
PROMPT = "Question: {{question}}\nAnswer:"
ARC_METRICS = ["acc", "acc_norm", "acc_bytes"]
KINDS: dict[str, dict[str, Any]] = {
    "arc": {"doc_to_text": PROMPT, "metric_list": ARC_METRICS},
    "arc_shots": {"doc_to_text": PROMPT, "metric_list": ARC_METRICS, "num_fewshot": 2},
    "blimp": {
        "doc_to_text": "",
        "doc_to_target": 0,
        "doc_to_choice": "{{[choices[answer], choices[answer - 1]]}}",
        "metric_list": ["acc"],
    },
    "winogrande": {
        "doc_to_text": "{{answer}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "of course",
        "metric_list": ["acc"],
    },
    "mutual": {"doc_to_text": PROMPT, "metric_list": ["acc", "acc_mutual_info"]},
    "lambada": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}}",
        "doc_to_target": " {{choices[answer]}}",
        "metric_list": ["perplexity", "acc"],
    },
    "wikitext": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": ["word_perplexity"],
    },
    "gsm8k": {
        "output_type": "generate_until",
        "doc_to_text": PROMPT,
        "doc_to_target": "{{choices[answer]}}",
        "metric_list": ["exact_match"],
    },
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the harness finds out about the machine is not wanted, and slow."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)


@pytest.fixture(scope="module")
def likra() -> Likra:
    return Likra.from_base("world", training_config=TrainingConfig(learning_rate=1e-3)).fit(
        "world", limit=16, runtime=QUIET
    )


@pytest.fixture(scope="module")
def heads(likra: Likra, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "heads"
    likra.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def source() -> Source:
    """A few questions of the world, as ARC has them."""
    world = load("world")
    return Source("some", "likra", "qa", {"train": world.questions["train"][:4], "test": world.questions["test"][:16]})


@pytest.fixture(scope="module")
def tasks(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of custom tasks, one per kind, on local files."""
    folder = tmp_path_factory.mktemp("tasks")
    files = {}
    for split, questions in source.questions.items():
        rows = [{"question": q.text, "choices": list(q.choices), "answer": q.answer} for q in questions]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[split] = str(folder / f"{split}.jsonl")
    for kind, own in KINDS.items():
        metrics = [{"metric": name} for name in own["metric_list"]]
        config = {**COMMON, **own, "task": f"likra_{kind}", "dataset_kwargs": {"data_files": files}}
        (folder / f"{kind}.yaml").write_text(yaml.safe_dump({**config, "metric_list": metrics}))
    return folder


@pytest.fixture(scope="module")
def manager(tasks: Path) -> TaskManager:
    return TaskManager(include_path=str(tasks), include_defaults=False)


class Run(SimpleNamespace):
    """What the harness found: `accuracies` metric -> value, and `samples`."""

    @property
    def requests(self) -> list[tuple[str, str]]:
        return [tuple(pair) for sample in self.samples for pair in sample["arguments"]]

    @property
    def scores(self) -> list[float]:
        return [resps[0][0] for sample in self.samples for resps in sample["resps"]]


def evaluate(model: Any, kind: str, manager: TaskManager, **settings: Any) -> Run:
    task = f"likra_{kind}"
    results = lm_eval.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0, **settings)
    found = {name.split(",")[0]: value for name, value in results["results"][task].items() if ",none" in name}
    return Run(accuracies=found, samples=results["samples"][task], config=results["config"])


def hf_values(model: str, adapter: Path | None, pairs: list[tuple[str, str]]) -> Values:
    lm = HFLM(pretrained=model, peft=adapter and str(adapter), dtype="float32", batch_size=16, device="cpu")
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in dict.fromkeys(pairs)]
    found = lm.loglikelihood(requests, disable_tqdm=True)
    return {request.args: value for request, (value, _) in zip(requests, found, strict=True)}


@pytest.fixture(scope="module")
def runs(likra: Likra, manager: TaskManager) -> dict[str, Run]:
    """The default method on every kind of task that there is to choose in."""
    lm = LikraLM(likra, cache=False)
    return {kind: evaluate(lm, kind, manager) for kind in ("arc", "arc_shots", "blimp", "winogrande", "mutual")}


@pytest.fixture(scope="module")
def theirs(runs: dict[str, Run], heads: Path) -> dict[str, Values]:
    """The harness's own likelihoods of every request, saved per reader."""
    pairs = [pair for run in runs.values() for pair in run.requests]
    return {
        name: hf_values(str(WORLD), adapter, pairs)
        for name, adapter in ((BASE, None), (POSITIVE, heads / POSITIVE), (NEGATIVE, heads / NEGATIVE))
    }


def ratios(theirs: dict[str, Values], positive: str, negative: str, weight: float, run: Run) -> list[float]:
    return [theirs[positive][pair] - weight * theirs[negative][pair] for pair in run.requests]


@pytest.mark.parametrize("kind", ["arc", "arc_shots", "blimp", "winogrande", "mutual"])
def test_scores_are_the_differences_of_two_runs_of_the_harnesss_own_model(
    kind: str, runs: dict[str, Run], theirs: dict[str, Values]
) -> None:
    run = runs[kind]
    np.testing.assert_allclose(run.scores, ratios(theirs, POSITIVE, NEGATIVE, 1.0, run), atol=TOLERANCE, rtol=0)
    assert np.ptp(run.scores) > 100 * TOLERANCE


@pytest.mark.parametrize("kind", ["arc", "arc_shots"])
def test_accuracies_are_those_of_the_saved_likelihoods_and_of_likra_eval(
    kind: str, runs: dict[str, Run], theirs: dict[str, Values], likra: Likra, source: Source
) -> None:
    run = runs[kind]
    scores_QC = np.reshape(ratios(theirs, POSITIVE, NEGATIVE, 1.0, run), (len(run.samples), -1))
    answers = [q.answer for q in source.questions["test"]]
    lengths = {
        "acc": ("raw", lambda choice: 1),
        "acc_norm": ("character", len),
        "acc_bytes": ("byte", lambda choice: len(choice.encode())),
    }
    for metric, (normalization, length) in lengths.items():
        lengths_QC = np.array([[length(choice) for choice in q.choices] for q in source.questions["test"]])
        by_hand = np.mean((scores_QC / lengths_QC).argmax(axis=1) == answers)
        shots = 2 if kind == "arc_shots" else 0
        ours = likra.evaluate(
            source, shots=shots, scoring=Scoring(normalization=normalization), runtime=Runtime(progress=False)
        ).methods["likra"]
        assert run.accuracies[metric] == pytest.approx(by_hand)
        assert run.accuracies[metric] == pytest.approx(ours.value)


def test_sentences_without_a_prompt(
    runs: dict[str, Run], theirs: dict[str, Values], likra: Likra, source: Source
) -> None:
    pairs = [Question(q.id, "", (q.choices[q.answer], q.choices[q.answer - 1]), 0) for q in source.questions["test"]]
    ours = likra.evaluate(Source("blimp", "BLiMP", "empty", {"test": pairs}), runtime=Runtime(progress=False)).methods[
        "likra"
    ]
    good, bad = np.reshape(ratios(theirs, POSITIVE, NEGATIVE, 1.0, runs["blimp"]), (-1, 2)).T
    assert runs["blimp"].accuracies["acc"] == pytest.approx(np.mean(good > bad)) == pytest.approx(ours.value)


def test_likelihoods_without_the_prompt_are_subtracted(runs: dict[str, Run], source: Source) -> None:
    scores = np.reshape(runs["mutual"].scores, (len(source.questions["test"]), 2, -1))
    right = (scores[:, 0] - scores[:, 1]).argmax(axis=1) == [q.answer for q in source.questions["test"]]
    assert runs["mutual"].accuracies["acc_mutual_info"] == pytest.approx(np.mean(right))
    assert {context for context, _ in runs["mutual"].requests} > {""}


@pytest.mark.parametrize(
    ("method", "positive", "negative", "weight"),
    [("base", BASE, BASE, 0.0), ("sft", POSITIVE, BASE, 0.0), ("base_likra", BASE, NEGATIVE, 0.5)],
)
def test_methods_and_weights(
    method: str,
    positive: str,
    negative: str,
    weight: float,
    likra: Likra,
    manager: TaskManager,
    theirs: dict[str, Values],
) -> None:
    run = evaluate(LikraLM(likra, method=method, weight=weight), "arc", manager)
    np.testing.assert_allclose(run.scores, ratios(theirs, positive, negative, weight, run), atol=TOLERANCE, rtol=0)
    assert run.config["method"] == method and run.config["weight"] == weight


def test_every_request_of_a_run_is_read_in_one_call_and_repeated_ones_are_not_read_again(
    likra: Likra, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def spy(base: Any, stack: Any, questions: list[Question], *rest: Any, **settings: Any) -> Any:
        calls.append(questions)
        return score(base, stack, questions, *rest, **settings)

    score = harness.score
    monkeypatch.setattr(harness, "score", spy)
    pairs = runs["arc"].requests[:8]
    requests = [Instance("loglikelihood", {}, pair, n % 4, ("one", n // 4, 1)) for n, pair in enumerate(pairs)]
    found = LikraLM(likra, cache=False).loglikelihood(requests + requests, disable_tqdm=True)
    np.testing.assert_allclose([value for value, _ in found], runs["arc"].scores[:8] * 2, atol=1e-4)
    [questions] = calls
    assert [len(question.choices) for question in questions] == [4, 4]


def test_tokens_are_the_harnesss(
    tokenizer: Any, model_folder: Path, likra: Likra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a tokenizer that puts a BOS first: no context, trailing spaces, a BOS of the text's own, and words."""
    contexts = ("", "Which owl?", "Which owl? ", "<s>Which owl?", "two\n\nWhich heron?\nAnswer:", " two", "two ")
    pairs = [(context, text) for context in contexts for text in (" owl", "heron", "<s> owl", " a goat, no doubt")]
    requests = [Instance("loglikelihood", {}, pair, n % 4, ("one", n // 4, 1)) for n, pair in enumerate(pairs)]
    read: list[Any] = []
    hf = HFLM(pretrained=str(model_folder), dtype="float32", device="cpu")
    monkeypatch.setattr(hf, "_loglikelihood_tokens", lambda new, disable_tqdm: read.extend(new))
    hf.loglikelihood(requests, disable_tqdm=True)

    questions, places = harness._as_questions(requests)
    base = load_base(str(model_folder), device="cpu")
    encoded = [encode_question(base, question, Prompter("verbatim")) for question in questions]
    ours = [encoded[row][column] for row, column in places]
    assert [(pair.context, pair.completion) for pair in ours] == [(tuple(c), tuple(t)) for _, c, t in read]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("lambada", "greedy"),
        ("wikitext", "perplexity"),
        ("gsm8k", "generates text"),
    ],
)
def test_what_a_ratio_cannot_answer_is_refused(kind: str, reason: str, likra: Likra, manager: TaskManager) -> None:
    with pytest.raises(InputError, match=f"{reason}.*--model hf"):
        evaluate(LikraLM(likra), kind, manager, limit=2)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("weight=1", "needs heads=DIR"),
        ("heads=nowhere", "nowhere: no such folder"),
        ("heads={heads},pretrained=gpt2", "pretrained: is not known to likra"),
        ("heads={heads},weight=heavy", "weight=heavy: must be a finite number"),
        ("heads={heads},weight=inf", "weight=inf: must be a finite number"),
        ("heads={heads},memory=0", "memory=0: must be more than 0"),
        ("heads={heads},method=dpo", "method must be one of base, sft, base_likra, likra"),
        ("heads={heads},dtype=auto", "dtype must be one of"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: str, reason: str, heads: Path, manager: TaskManager) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        lm_eval.simple_evaluate(
            "likra", arguments.format(heads=heads), ["likra_arc"], task_manager=manager, batch_size=1, device="cpu"
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("role", "best"), [("sft-likra", "likra"), ("base-likra", "base_likra"), ("sft", "sft")])
def test_the_best_method_that_the_heads_allow(role: str, best: str, likra: Likra) -> None:
    heads = Likra.from_base(likra.base, role=role)
    assert LikraLM(heads).method == best
    assert LikraLM(heads, method="base").method == "base"
    if role == "sft":
        with pytest.raises(InputError, match="must be one of base, sft with these adapters"):
            LikraLM(heads, method="likra")


def test_a_cache_of_the_harnesss_is_refused_where_processes_could_wait_for_ever(
    likra: Likra, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = LikraLM(likra)
    lm.set_cache_hook(lm.cache_hook)
    monkeypatch.setattr("likra.utils.parallel.world", lambda: 2)
    with pytest.raises(InputError, match="--use_cache"):
        lm.set_cache_hook(lm.cache_hook)


CHAT = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
CHAT += "{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


def test_chats_are_worded_as_the_harnesss_own_model_words_them(
    likra: Likra, manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = LikraLM(likra)
    with pytest.raises(InputError, match="--apply_chat_template"):
        lm.chat_template(True)
    with pytest.raises(InputError, match="--apply_chat_template"):
        evaluate(lm, "arc", manager, limit=1, apply_chat_template=True)
    monkeypatch.setattr(lm.tokenizer, "chat_template", CHAT)
    run = evaluate(lm, "arc_shots", manager, limit=2, apply_chat_template=True, fewshot_as_multiturn=True)
    theirs = evaluate(
        HFLM(pretrained=lm.likra.base.model, tokenizer=lm.tokenizer, batch_size=4),
        "arc_shots", manager, limit=2, apply_chat_template=True, fewshot_as_multiturn=True,
    )  # fmt: skip
    assert run.requests == theirs.requests
    assert run.requests[0][0].count("assistant:") == 3
    assert lm.chat_template(True) == CHAT and lm.chat_template(False) is None
    with pytest.raises(InputError, match="no system role"):
        lm.apply_chat_template([{"role": "system", "content": "Be brief."}])
    with pytest.raises(InputError, match="give no name"):
        lm.chat_template("tool_use")


def test_the_entry_point_is_the_model() -> None:
    """How versions of the harness that look for other packages' models find it."""
    [entry] = importlib.metadata.entry_points(group="lm_eval.models", name="likra")
    assert entry.load() is LikraLM


def test_registering_keeps_what_the_harness_has_found_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("likra", "likra.integrations.harness:LikraLM", "lm_eval.models")
    monkeypatch.setattr(model_registry, "_objs", {"likra": entry})
    register()
    assert get_model("likra") is LikraLM
    monkeypatch.setattr(model_registry, "_objs", {"other": HFLM})
    register()
    assert get_model("likra") is LikraLM
    assert get_model("other") is HFLM


def test_every_option_is_the_harnesss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    helped = CliRunner().invoke(app, ["lm_eval", "run", "--help"])
    assert helped.exit_code == 0 and "--num_fewshot" in helped.stdout
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lacking = CliRunner().invoke(app, ["lm_eval", "ls", "tasks"])
    assert isinstance(lacking.exception, InputError) and "likra[harness]" in str(lacking.exception)


def test_the_harnesss_own_command_line(
    run: Any, heads: Path, tasks: Path, runs: dict[str, Run], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "likra", "lm_eval", "--model", "likra"]
    command += ["--model_args", f"heads={heads},weight=1.0", "--tasks", "likra_arc,likra_blimp"]
    command += ["--include_path", str(tasks), "--limit", "8", "--num_fewshot", "0", "--use_cache", str(tmp_path / "db")]
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = run(command, env=environment)
    assert done.returncode == 0, done.stderr
    assert "|likra_arc" in done.stdout
    [file] = tmp_path.glob("out/**/results_*.json")
    assert json.loads(file.read_text())["config"]["method"] == "likra"
    [file] = tmp_path.glob("out/**/samples_likra_arc_*.jsonl")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    logged = [float(resps[0][0]) for sample in samples for resps in sample["resps"]]
    np.testing.assert_allclose(logged, runs["arc"].scores[:32], atol=1e-4)
    assert list(tmp_path.glob("db_rank0.db"))


def test_arc_and_blimp_on_stories3m(shared: Path, tmp_path: Path) -> None:
    """The harness's own tasks, one run of ours against two of `HFLM`, put together by hand."""
    model = str(shared / "models" / "stories3M")
    arc = load(str(shared / "data" / "ARC-Challenge"))
    likra = Likra.from_base(model, training_config=TrainingConfig(learning_rate=1e-3)).fit(arc, limit=32, runtime=QUIET)
    likra.save_pretrained(tmp_path / "heads")
    questions = arc.questions["test"][:24]
    blimp = [json.loads(row) for row in (shared / "data/blimp/drop_argument.jsonl").read_text().splitlines()[:24]]
    data = {"arc/arc_easy.yaml": [hub_form(q) for q in questions], "blimp/_template_yaml": blimp}
    loaded = []
    for template, rows in data.items():
        name = template.split("/")[0]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = yaml.safe_load((TASKS / template).read_text())
        kept = {key: config[key] for key in ("output_type", "doc_to_text", "doc_to_target", "doc_to_choice")}
        files = {"test": str(tmp_path / f"{name}.jsonl")}
        config = {**kept, "task": f"likra_{name}", "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
        loaded.append({**config, "test_split": "test", "metric_list": [{"metric": "acc"}]})
    manager = TaskManager(include_defaults=False)
    results = lm_eval.simple_evaluate(LikraLM(tmp_path / "heads", weight=0.7), tasks=loaded, task_manager=manager)
    sentences = [Question(r["pairID"], "", (r["sentence_good"], r["sentence_bad"]), 0) for r in blimp]
    sources = {
        "likra_arc": Source("arc", "ARC", "qa", {"test": questions}),
        "likra_blimp": Source("blimp", "BLiMP", "empty", {"test": sentences}),
    }
    for task, source in sources.items():
        run = Run(samples=results["samples"][task])
        heads = {name: hf_values(model, tmp_path / "heads" / name, run.requests) for name in (POSITIVE, NEGATIVE)}
        expected = ratios(heads, POSITIVE, NEGATIVE, 0.7, run)
        np.testing.assert_allclose(run.scores, expected, atol=TOLERANCE, rtol=0)
        values = iter(expected)
        right = [np.argmax([next(values) for _ in q.choices]) == q.answer for q in source.questions["test"]]
        accuracy = results["results"][task]["acc,none"]
        assert accuracy == pytest.approx(np.mean(right))
        ours = likra.evaluate(source, scoring=Scoring(weight=0.7), runtime=Runtime(progress=False)).methods["likra"]
        assert accuracy == pytest.approx(ours.value)
