"""Equal to lm-evaluation-harness: its own wording, its own tokens, its own HFLM."""

import json
import logging
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from likra.data import Prompter, Question, Source, load
from likra.engine.loglikelihood import score
from likra.models.adapters import write_adapter
from likra.models.base import Base, load_base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE, Likelihoods
from tests.conftest import tiny_base
from tests.engine.test_engine import perturb

logging.getLogger("lm_eval").setLevel(logging.ERROR)
TOLERANCE = 1e-3
TASKS = Path(lm_eval.__file__).parent / "tasks"


def harness_task(
    yaml_path: str, records: dict[str, list[dict[str, Any]]], shots: int, folder: Path
) -> ConfigurableTask:
    """The harness's own task, with its own templates, on local records in the hub's layout."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda _, node: node.value)
    config = yaml.load((TASKS / yaml_path).read_text(), loader)
    files = {}
    for split, rows in records.items():
        files[split] = str(folder / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = {key: config[key] for key in ("output_type", "doc_to_text", "doc_to_target", "doc_to_choice")}
    return ConfigurableTask(
        config={
            **kept,
            "task": "local",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "test_split": "test",
            "training_split": "train",
            "num_fewshot": shots,
            "fewshot_config": {"sampler": "first_n"},
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        }
    )


def harness_likelihoods(task: ConfigurableTask, lm: HFLM, count: int, shots: int) -> list[list[float]]:
    task.build_all_requests(limit=count, rank=0, world_size=1)
    answers = iter(lm.loglikelihood(task.instances, disable_tqdm=True))
    values: dict[int, list[float]] = {}
    for instance in task.instances:
        values.setdefault(instance.doc_id, []).append(next(answers)[0])
    return [values[doc] for doc in sorted(values)]


def hub_form(question: Question) -> dict[str, Any]:
    labels = [chr(ord("A") + n) for n in range(len(question.choices))]
    assert question.answer is not None
    return {
        "id": question.id,
        "question": question.text,
        "choices": {"text": list(question.choices), "label": labels},
        "answerKey": labels[question.answer],
    }


def assert_same(ours: np.ndarray, theirs: list[list[float]]) -> None:
    for row, values in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(row[: len(values)], values, atol=TOLERANCE, rtol=0)


def three_heads(base: Base, folder: Path) -> HeadStack:
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    perturb(stack)
    for name in stack.names:
        write_adapter(stack, name, folder / name)
    return stack


def compare(
    base: Base, model: str, source: Source, yaml_path: str, records: Any, count: int, shots: int, folder: Path
) -> Likelihoods:
    """Base and both heads on the first `count` test questions, ours and the harness's."""
    stack = three_heads(base, folder)
    prompter = Prompter(source.style, shots, source.questions["train"])
    questions = source.questions["test"][:count]
    table = score(base, stack, questions, prompter, (BASE, "positive", "negative"))
    for name, adapter in ((BASE, None), *((n, str(folder / n)) for n in stack.names)):
        lm = HFLM(pretrained=model, peft=adapter, dtype="float32", batch_size=16, device="cpu")
        task = harness_task(yaml_path, records, shots, folder)
        theirs = harness_likelihoods(task, lm, count, shots)
        worded = [pair for question in questions for pair in prompter.pairs(question)]
        assert [tuple(instance.args) for instance in task.instances] == worded
        assert_same(table.head(name), theirs)
    return table


@pytest.mark.parametrize("shots", [0, 3])
def test_arc_on_a_tiny_model(
    shots: int, tokenizer: Any, model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    source = Source("arc", "hub ARC", "qa", {"train": questions[:5], "test": questions[5:]})
    records = {split: [hub_form(q) for q in qs] for split, qs in source.questions.items()}
    compare(tiny_base(tokenizer), str(model_folder), source, "arc/arc_easy.yaml", records, 7, shots, tmp_path)


@pytest.mark.parametrize("shots", [0, 3])
def test_200_questions_of_arc_challenge(shots: int, shared: Path, tmp_path: Path) -> None:
    model = str(shared / "models" / "stories3M")
    source = load(str(shared / "data" / "ARC-Challenge"))
    records = {split: [hub_form(q) for q in source.questions[split]] for split in ("train", "test")}
    compare(load_base(model), model, source, "arc/arc_easy.yaml", records, 200, shots, tmp_path)


@pytest.mark.parametrize("shots", [0, 3])
def test_listed_options_are_those_of_mmlu(shots: int, tokenizer: Any, model_folder: Path, tmp_path: Path) -> None:
    """Its own wording, and few-shot examples as it shows them, but for the line that names the subject."""
    texts = ("goat", "a tall heron", "owl", "two by two")
    rows = [
        {"question": f" What is {n}? ", "choices": [f"{text} {n}" for text in texts], "answer": n % 4} for n in range(9)
    ]
    asked = [Question(str(n), row["question"], tuple(row["choices"]), row["answer"]) for n, row in enumerate(rows)]
    source = Source("mmlu", "MMLU", "options", {"train": asked[:4], "test": asked[4:]})
    records = {"train": rows[:4], "test": rows[4:]}
    template = "mmlu/default/_default_template_yaml"
    table = compare(tiny_base(tokenizer), str(model_folder), source, template, records, 5, shots, tmp_path)
    assert table.tokens_QC.min() >= 1 and len({*table.head(BASE)[0]}) == 4


@pytest.mark.parametrize("shots", [0, 5])
def test_listed_options_of_arc_challenge(shots: int, shared: Path, tmp_path: Path) -> None:
    """As MMLU lists them, on real questions with four choices."""
    model = str(shared / "models" / "stories3M")
    source = load(str(shared / "data" / "ARC-Challenge"), "options")
    source.questions = {
        split: [question for question in source.questions[split] if len(question.choices) == 4][:60]
        for split in ("train", "test")
    }
    records = {
        split: [{"question": q.text, "choices": list(q.choices), "answer": q.answer} for q in some]
        for split, some in source.questions.items()
    }
    template = "mmlu/default/_default_template_yaml"
    compare(load_base(model), model, source, template, records, 30, shots, tmp_path)


def test_sentences_without_a_prompt_on_a_tiny_model(tokenizer: Any, model_folder: Path, tmp_path: Path) -> None:
    words = ("goat", "owl", "heron", "sea")
    rows = [{"sentence_good": f"A {w} keeps {v}.", "sentence_bad": f"{v} keep a {w}."} for w in words for v in words]
    pairs = [Question(str(n), "", (r["sentence_good"], r["sentence_bad"]), 0) for n, r in enumerate(rows)]
    source = Source("blimp", "BLiMP", "empty", {"train": pairs, "test": pairs})
    records = {"train": rows, "test": rows}
    base = tiny_base(tokenizer)
    compare(base, str(model_folder), source, "blimp/_template_yaml", records, 16, 0, tmp_path)


def test_blimp(shared: Path, tmp_path: Path) -> None:
    model = str(shared / "models" / "stories260K")
    rows = [json.loads(line) for line in (shared / "data/blimp/drop_argument.jsonl").read_text().splitlines()[:60]]
    pairs = [Question(r["pairID"], "", (r["sentence_good"], r["sentence_bad"]), 0) for r in rows]
    source = Source("blimp", "BLiMP", "empty", {"train": pairs, "test": pairs})
    records = {"train": rows, "test": rows}
    compare(load_base(model), model, source, "blimp/_template_yaml", records, 60, 0, tmp_path)


def test_accuracies_are_the_harnesss(
    tokenizer: Any, model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    """acc and acc_norm of the base, as the harness itself aggregates them."""
    task = harness_task(
        "arc/arc_easy.yaml", {s: [hub_form(q) for q in questions] for s in ("train", "test")}, 0, tmp_path
    )
    lm = HFLM(pretrained=str(model_folder), dtype="float32", batch_size=4, device="cpu")
    values = harness_likelihoods(task, lm, len(questions), 0)
    docs = list(task.test_docs())
    results = [task.process_results(doc, [(v, False) for v in row]) for doc, row in zip(docs, values, strict=True)]
    table = score(tiny_base(tokenizer), None, questions, Prompter("qa"))
    for metric, normalization in (("acc", "raw"), ("acc_norm", "character")):
        ours = Evaluation(table, None, None, normalization=normalization).methods["base"].value
        assert ours == pytest.approx(np.mean([result[metric] for result in results]))
