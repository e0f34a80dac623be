"""`Likra`: fit, score, rank, evaluate, save, load, and what it refuses."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig

import likra
from likra import Example, InputError, Likra, Question, StateError, TrainingConfig
from likra.data import Prompter, Source, load
from likra.generation.decoding import Decoding
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.scoring.abstention import abstention_on
from likra.scoring.config import Scoring
from likra.scoring.evaluation import Evaluation
from likra.training.provenance import left_over, remarks
from likra.utils.runtime import QUIET, Runtime
from tests.conftest import tiny_base, write_questions

FAST = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4)


@pytest.fixture
def fitted(base: Base, questions: list[Question]) -> Likra:
    return Likra.from_base(base, training_config=FAST).fit(questions, runtime=QUIET)


def test_fit_score_rank(fitted: Likra) -> None:
    choices = ["goat", "a tall heron", "owl"]
    scored = fitted.score("Which animal?", choices)
    assert [c.text for c in scored] == choices
    for candidate in scored:
        assert candidate.negative is not None
        assert candidate.score == pytest.approx(candidate.positive - candidate.negative)
        assert candidate.positive != candidate.base
    ranked = fitted.rank("Which animal?", choices)
    assert sorted(scored, key=lambda c: c.score, reverse=True) == ranked
    per_byte = fitted.score("Which animal?", choices, scoring=Scoring(normalization="byte"))
    assert per_byte[1].score == pytest.approx(scored[1].score / len("a tall heron"))
    [only] = fitted.score("Which animal?", ["goat"])  # one candidate alone can be verified
    assert only.score == pytest.approx(scored[0].score, abs=1e-4)


def test_training_separates_right_from_wrong(fitted: Likra, questions: list[Question]) -> None:
    """On the very questions it was trained on, a heavily trained Likra beats chance."""
    strong = Likra.from_base(
        fitted.base,
        training_config=TrainingConfig(
            lora=lora_config(r=8), learning_rate=1e-2, per_device_train_batch_size=4, num_train_epochs=15
        ),
    )
    assert fitted.stack is not None
    fitted.stack.remove()
    result = strong.fit(questions, negatives="all", runtime=QUIET).evaluate(questions, runtime=Runtime(progress=False))
    chance = np.mean([1 / len(q.choices) for q in questions])
    assert result.methods["likra"].value > chance + 0.3


@pytest.mark.parametrize(
    ("role", "methods"),
    [
        ("sft-likra", ["base", "sft", "base_likra", "likra"]),
        ("base-likra", ["base", "base_likra"]),
        ("sft", ["base", "sft"]),
    ],
)
def test_roles(role: str, methods: list[str], base: Base, questions: list[Question], tmp_path: Path) -> None:
    model = Likra.from_base(base, role=role, training_config=FAST, weight=0.5).fit(questions, runtime=QUIET)
    assert list(model.evaluate(questions, runtime=Runtime(progress=False)).methods) == methods
    [candidate, _] = model.score("Which?", ["goat", "owl"])
    if role == "base-likra":
        assert candidate.positive == candidate.base
    if role == "sft":
        assert candidate.negative is None and candidate.score == candidate.positive
    else:
        assert candidate.score == pytest.approx(candidate.positive - 0.5 * (candidate.negative or 0))
    model.save_pretrained(tmp_path / "heads")
    assert json.loads((tmp_path / "heads/likra.json").read_text())["weight"] == 0.5


def test_a_saved_likra_comes_back_the_same(
    fitted: Likra, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    before = fitted.likelihoods(questions)
    fitted.save_pretrained(tmp_path / "heads")
    again = Likra.from_pretrained(tmp_path / "heads", model=tiny_base(tokenizer))
    np.testing.assert_array_equal(again.likelihoods(questions).logprob_HQC, before.logprob_HQC)
    assert (again.weight, again.style, again.training_config, again.training) == (
        fitted.weight,
        fitted.style,
        fitted.training_config,
        fitted.training,
    )
    assert again.losses == fitted.losses
    log = [json.loads(line) for line in (tmp_path / "heads/losses.jsonl").read_text().splitlines()]
    assert [set(step) for step in log] == [{"step", "losses", "rates", "examples"}] * 3
    manifest = json.loads((tmp_path / "heads/likra.json").read_text())
    assert manifest["base"]["name"] == "tiny-llama" and manifest["heads"] == {
        "positive": "positive",
        "negative": "negative",
    }
    assert manifest["training_config"]["learning_rate"] == 1e-2 and manifest["prompt"] == {"style": "qa"}
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pt"))


def test_answer_heads_come_back_as_answer_heads(
    base: Base, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    model = Likra.from_base(
        base,
        training_config=TrainingConfig(
            lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4, adapt="completion"
        ),
    )
    before = model.fit(questions, runtime=QUIET).likelihoods(questions)
    model.save_pretrained(tmp_path / "heads")
    again = Likra.from_pretrained(tmp_path / "heads", model=tiny_base(tokenizer))
    assert again.stack is not None and again.stack.adapt == "completion"
    np.testing.assert_array_equal(again.likelihoods(questions).logprob_HQC, before.logprob_HQC)


def test_unpaired_examples_train_each_head_on_its_own_side(base: Base) -> None:
    examples = [Example(f"Hi {n}.", " Hello.", n % 3 == 0) for n in range(12)]
    model = Likra.from_base(base, training_config=FAST, style="verbatim").fit(examples, runtime=QUIET)
    assert model.training["examples"] == {"positive": 4, "negative": 8}
    with pytest.raises(InputError, match="has no wrong completions"):
        Likra.from_base(base, training_config=FAST).fit([e for e in examples if e.right], runtime=QUIET)
    assert model.stack is not None
    model.stack.remove()
    Likra.from_base(base, role="sft", training_config=FAST).fit([e for e in examples if e.right], runtime=QUIET)


def test_the_two_heads_start_apart_and_seeds_matter(tokenizer: Any, questions: list[Question]) -> None:
    runs = []
    for seed in (0, 0, 1):
        config = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=4, seed=seed)
        model = Likra.from_base(tiny_base(tokenizer), training_config=config).fit(questions, runtime=QUIET)
        assert model.stack is not None
        runs.append(model.stack.weights("positive"))
        path = next(iter(runs[-1]))
        assert not torch.equal(runs[-1][path][0], model.stack.weights("negative")[path][0])
    same = [all(torch.equal(x, y) for p in one for x, y in zip(one[p], runs[0][p], strict=True)) for one in runs]
    assert same == [True, True, False]


def test_a_limit_draws_by_the_seed(base: Base, questions: list[Question]) -> None:
    model = Likra.from_base(base, training_config=FAST).fit(questions, limit=5, negatives="all", runtime=QUIET)
    assert model.training["examples"]["positive"] == 5
    with pytest.raises(InputError, match="limit must be 1 or more, got 0"):
        model.fit(questions, limit=0, runtime=QUIET)


def test_a_plain_transformers_model_needs_its_tokenizer(base: Base) -> None:
    assert Likra.from_base(base.model, base.tokenizer).base.fingerprint == base.fingerprint
    with pytest.raises(InputError, match="needs its tokenizer"):
        Likra.from_base(base.model)
    with pytest.raises(InputError, match="role must be one of sft-likra, base-likra, sft, got 'both'"):
        Likra.from_base(base, role="both")


def test_an_unfitted_likra_says_so(base: Base, tmp_path: Path) -> None:
    model = Likra.from_base(base)
    with pytest.raises(StateError, match="no heads yet"):
        model.score("Which?", ["a", "b"])
    with pytest.raises(StateError, match="no heads yet"):
        model.save_pretrained(tmp_path / "heads")


@pytest.mark.parametrize(("style", "question"), [("cloze", "No blank."), ("empty", "A question?")])
def test_questions_that_the_heads_style_cannot_word_are_refused(style: str, question: str, fitted: Likra) -> None:
    fitted.style = style
    with pytest.raises(InputError, match="these heads learned"):
        fitted.score(question, ["a", "b"])


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_must_be_finite(weight: float, base: Base, fitted: Likra, questions: list[Question]) -> None:
    with pytest.raises(InputError, match="weight must be a finite number"):
        Likra.from_base(base, weight=weight)
    with pytest.raises(InputError, match="weight must be a finite number"):
        fitted.evaluate(questions, scoring=Scoring(weight=weight), runtime=Runtime(progress=False))


def test_bad_choices_are_refused(fitted: Likra) -> None:
    with pytest.raises(InputError, match="no choices"):
        fitted.score("Which?", [])
    with pytest.raises(InputError, match="choice 2 is empty"):
        fitted.score("Which?", ["a", " "])
    for question, choices in (("Which?", [1, 2]), ("Which?", "abc"), (None, ["a"]), ("Which?", [b"a"])):
        with pytest.raises(InputError, match="a question is a text, and its choices are a list of texts"):
            fitted.rank(question, choices)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="choice 2 is empty"):
        fitted.score("Which?", ["a", "\u200b"])


def test_shots_come_from_the_training_split(fitted: Likra, questions: list[Question], tmp_path: Path) -> None:
    plain = fitted.evaluate(questions[3:], runtime=Runtime(progress=False)).likelihoods
    shown = fitted.evaluate(questions[3:], shots=2, few_shot=questions[:3], runtime=Runtime(progress=False)).likelihoods
    assert not np.allclose(np.nan_to_num(plain.logprob_HQC), np.nan_to_num(shown.logprob_HQC))
    path = write_questions(tmp_path / "test.jsonl", questions)
    for judge in (fitted.evaluate, fitted.calibrate):
        for data in (str(path), questions):
            with pytest.raises(InputError, match="has no training split"):
                judge(data, shots=2, runtime=QUIET, **({"split": "test"} if data is not questions else {}))


def test_no_question_that_is_judged_is_shown_as_an_example(
    fitted: Likra, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    asked: list[Question] = []

    real = Prompter.pairs

    def pairs(self: Prompter, question: Question) -> list[tuple[str, str]]:
        found = real(self, question)
        asked.append(question)
        seen.append(tuple(found[0][0].split("\n\n")[:-1]))
        return found

    monkeypatch.setattr(Prompter, "pairs", pairs)
    own = [dataclasses.replace(q, text=f"{q.text} Number {n}.") for n, q in enumerate(questions)]
    repeated = dataclasses.replace(own[0], id="again", text=own[0].text + "\u00a0")  # the same question once more
    source = Source("data", "quiz", "qa", {"train": own, "test": [repeated, *questions]})
    for sampled, split, limit in ((False, "train", None), (False, "all", None), (False, "test", 3), (True, "train", 4)):
        seen.clear()
        asked.clear()
        result = fitted.evaluate(source, split=split, shots=2, sampled_shots=sampled, limit=limit, runtime=QUIET)
        texts = {q.text.strip() for q in asked}
        shown = {example.split("\n")[0].removeprefix("Question: ") for examples in seen for example in examples}
        assert len(shown) >= 2 and not shown & texts, (sampled, split)
        assert len(result.likelihoods.questions) == (limit or {"train": 10, "all": 22}[split])
    with pytest.raises(InputError, match="drawn examples would be questions that are judged"):
        fitted.evaluate(source, split="train", shots=2, sampled_shots=True, runtime=Runtime(progress=False))


def test_what_was_trained_on_is_known_however_it_is_called(
    fitted: Likra, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    path = write_questions(tmp_path / "folder" / "train.jsonl", questions)
    write_questions(tmp_path / "folder" / "test.jsonl", [Question("o", "Who else?", ("a", "b"), 0)])
    (tmp_path / "link.jsonl").symlink_to(path)
    shuffled = [dataclasses.replace(q, id=f"x{q.id}", choices=q.choices[::-1], answer=len(q.choices) - 1 - q.answer)
                for q in questions if q.answer is not None]  # fmt: skip
    write_questions(tmp_path / "copy-train.jsonl", shuffled)
    assert fitted.stack is not None
    fitted.stack.remove()
    fitted = Likra.from_base(fitted.base, training_config=FAST).fit("folder/train.jsonl", limit=5, runtime=QUIET)
    names = ["folder/train.jsonl", "./folder/train.jsonl", "folder/../folder/train.jsonl", str(path), "folder"]
    for name in (*names, "link.jsonl", "copy-train.jsonl"):
        source = load(name)
        split = "train" if "train" in source.questions else "all"
        split = "all" if name == "link.jsonl" else split
        [remark] = remarks(fitted.training, fitted.style, source, split)
        count = len(source.items(split))
        assert f"these heads were trained on 5 of these {count} questions" in remark, name
        assert (
            len(left_over(fitted.training, source, fitted.training_config.seed)) == len(questions) - 5
            if name in names
            else True
        )
    assert remarks(fitted.training, fitted.style, load("folder")) == []  # its test split is another
    # What training left over was not trained on, though it stands in the same file.
    left = write_questions(
        tmp_path / "left-test.jsonl", left_over(fitted.training, load("folder"), fitted.training_config.seed)
    )
    assert remarks(fitted.training, fitted.style, load(str(left))) == []
    write_questions(path, questions[::-1])  # the draw would be another now
    with pytest.raises(InputError, match="is not the source of which these heads saw a part"):
        left_over(fitted.training, load("folder/train.jsonl"), fitted.training_config.seed)


def probable_of(likra: Likra, result: Evaluation) -> Any:
    meta, scoring = result.likelihoods.meta, Scoring(weight=result.weight, normalization=result.normalization)
    return likra.probable(scoring, meta["shots"], meta["style"])


def test_a_calibration_holds_for_its_own_prompt_style(
    fitted: Likra, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    def probability(likra: Likra) -> float | None:
        return likra.score("Which?", ["goat", "owl"])[0].probability

    own = Source("own", "quiz", "qa", {"validation": questions})
    other = Source("other", "preference", "verbatim", {"validation": questions})
    fitted.calibration = fitted.calibrate(other, runtime=QUIET)  # whether it helps or not
    assert probability(fitted) is None
    for source, there in ((other, True), (own, False)):
        result = fitted.evaluate(source, runtime=QUIET)
        assert (abstention_on(result, probable_of(fitted, result)) is not None) is there
        assert (fitted.candidates(result.likelihoods)[0][0].probability is not None) is there
    [remark] = remarks(
        fitted.training,
        fitted.style,
        Source("o", "p", "verbatim", {"test": [Question("o", "Who else?", ("a", "b"), 0)]}),
    )
    assert "'qa'" in remark and "'verbatim'" in remark
    fitted.calibration = fitted.calibrate(own, runtime=QUIET)
    assert probability(fitted) is not None
    # Saved before the style was: known where it was fitted to what the heads were trained on, or to a list.
    fitted.save_pretrained(tmp_path / "heads")
    kept = json.loads((tmp_path / "heads/calibration.json").read_text())
    del kept["calibration"]["style"], kept["asked"]
    for data, there in (("own", False), (None, True)):
        (tmp_path / "heads/calibration.json").write_text(json.dumps(kept | {"data": data}))
        assert (probability(Likra.from_pretrained(tmp_path / "heads", model=tiny_base(tokenizer))) is not None) is there


def test_a_fingerprint_tells_bases_apart_but_not_dtypes(tokenizer: Any) -> None:
    from likra.models.base import sampled

    one = tiny_base(tokenizer)
    other = tiny_base(tokenizer, seed=1)
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == tiny_base(tokenizer).fingerprint
    # That of earlier heads folders.
    before = sampled(one.model)
    assert before != sampled(other.model)
    one.model.to(torch.bfloat16)
    assert sampled(one.model) == before


def test_what_the_package_exports() -> None:
    for name in likra.__all__:
        assert getattr(likra, name) is not None
    with pytest.raises(AttributeError):
        likra.nothing  # noqa: B018


@pytest.mark.parametrize("failure", ["diverged", "interrupted", "no such answer", "no such layer"])
def test_a_failed_fit_leaves_everything_as_it_was(
    failure: str, fitted: Likra, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    from likra.training.trainer import Trainer

    asked = questions[0]
    before = fitted.score(asked.text, asked.choices)
    state = (fitted.style, fitted.training, fitted.losses, fitted.calibration, fitted.evaluations, fitted.stack)
    data: list[Question] = list(questions[:8])
    if failure == "diverged":
        monkeypatch.setattr(fitted, "training_config", dataclasses.replace(fitted.training_config, learning_rate=1e30))
        raised: type[BaseException] = InputError
    elif failure == "interrupted":
        raised = KeyboardInterrupt
        monkeypatch.setattr(Trainer, "run", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    elif failure == "no such layer":
        monkeypatch.setattr(
            fitted,
            "training_config",
            dataclasses.replace(fitted.training_config, lora=lora_config(target_modules=["w_proj"])),
        )
        raised = InputError
    else:
        data, raised = [dataclasses.replace(data[0], answer=None)], InputError
    with pytest.raises(raised):
        fitted.fit(data, runtime=QUIET)
    assert fitted.score(asked.text, asked.choices) == before
    after = (fitted.style, fitted.training, fitted.losses, fitted.calibration, fitted.evaluations, fitted.stack)
    assert all(one is other for one, other in zip(state, after, strict=True))


def test_two_threads_get_what_one_gets(fitted: Likra, questions: list[Question]) -> None:
    """200 calls of `score` and `evaluate`, in two threads, on one Likra."""
    asked, judged = questions[:5], questions[5:8]
    scores = [fitted.score(question.text, question.choices) for question in asked]
    table = fitted.evaluate(judged, runtime=QUIET).likelihoods.logprob_HQC

    def call(number: int) -> bool:
        if number % 10 == 9:
            found = fitted.evaluate(judged, runtime=QUIET).likelihoods.logprob_HQC
            return bool(np.array_equal(found, table, equal_nan=True))
        question = asked[number % len(asked)]
        return fitted.score(question.text, question.choices) == scores[number % len(asked)]

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(call, range(200), timeout=300))


def test_training_in_one_thread_and_scoring_in_another_on_one_base(base: Base, questions: list[Question]) -> None:
    one = Likra.from_base(base, training_config=TrainingConfig(learning_rate=1e-3)).fit(questions[:8], runtime=QUIET)
    asked = questions[0]
    before = one.score(asked.text, asked.choices)
    plain = [candidate.base for candidate in before]
    with ThreadPoolExecutor(2) as pool:
        again = pool.submit(one.fit, questions[:8], runtime=QUIET)
        found = [pool.submit(one.score, asked.text, asked.choices).result(300) for _ in range(20)]
        again.result(300)
    assert all([candidate.base for candidate in some] == plain for some in found)
    assert one.score(asked.text, asked.choices) == before  # the same data, recipe and seed


def test_heads_that_were_removed_from_their_base_say_so(fitted: Likra) -> None:
    assert fitted.stack is not None
    fitted.stack.remove()
    with pytest.raises(StateError, match="were removed from their base"):
        fitted.score("Which?", ["a", "b"])


def test_a_calibration_is_of_one_methods_scores(fitted: Likra, questions: list[Question]) -> None:
    fitted.calibration = fitted.calibrate(questions, runtime=QUIET)  # whether it helps or not
    asked = ("Which animal?", ["goat", "owl"])
    assert fitted.score(*asked)[0].probability is not None
    assert fitted.score(*asked, scoring=Scoring("likra"))[0].probability is not None
    assert fitted.score(*asked, scoring=Scoring("sft"))[0].probability is None
    fitted.calibration = fitted.calibrate(questions, scoring=Scoring("sft"), runtime=QUIET)
    assert fitted.score(*asked)[0].probability is None
    found = fitted.score(*asked, scoring=Scoring("sft"))
    assert fitted.calibration is not None
    ratio = np.exp((found[0].score - found[1].score) / fitted.calibration.calibration.temperature)
    assert found[0].probability == pytest.approx(ratio / (1 + ratio))


def test_a_method_that_the_heads_do_not_allow_is_refused(base: Base, questions: list[Question]) -> None:
    model = Likra.from_base(base, role="sft", training_config=FAST).fit(questions, runtime=QUIET)
    for ask in (
        lambda: model.score("?", ["a", "b"], scoring=Scoring("likra")),
        lambda: model.evaluate(questions, scoring=Scoring("likra"), runtime=QUIET),
    ):
        with pytest.raises(InputError, match="method must be one of base, sft"):
            ask()


@pytest.mark.parametrize(
    "lora",
    [
        LoraConfig(r=4),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        LoraConfig(r=4, target_modules=r".*\.(q|v)_proj"),
        LoraConfig(r=4, target_modules="all-linear", use_rslora=True, task_type="CAUSAL_LM"),
    ],
)
def test_every_lora_config_is_saved_and_loaded(
    lora: LoraConfig, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    config = TrainingConfig(lora=lora, learning_rate=1e-2)
    model = Likra.from_base(tiny_base(tokenizer), training_config=config).fit(questions[:8], runtime=QUIET)
    lora.lora_alpha = 999  # the caller's own, which PEFT may change too
    assert model.training_config.lora.lora_alpha == 8
    model.save_pretrained(tmp_path / "heads")
    again = Likra.from_pretrained(tmp_path / "heads", model=tiny_base(tokenizer))
    assert again.score("Which?", ["goat", "owl"]) == model.score("Which?", ["goat", "owl"])
    assert again.training_config == model.training_config and hash(again.training_config)
    assert model.stack is not None
    assert model.stack.scaling("positive") == (8 / 4**0.5 if lora.use_rslora else 8 / 4)
    assert ("q_proj" in str(model.stack.layers)) and (("k_proj" in str(model.stack.layers)) is lora.use_rslora)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (LoraConfig(lora_dropout=0.1, use_dora=True), "lora_dropout .* use_dora"),
        (LoraConfig(task_type="SEQ_CLS"), "task_type must be CAUSAL_LM"),
        ({"r": 8}, "lora must be a peft.LoraConfig"),
    ],
)
def test_what_the_stack_cannot_do_is_refused_by_name(lora: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(lora=lora)


def test_pick_keeps_nothing_on_disk(fitted: Likra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKRA_CACHE", str(tmp_path / "kept"))
    fitted.pick("Which animal?", decoding=Decoding(max_tokens=4, answers=4, temperature=1.0))
    assert not (tmp_path / "kept").exists()
    assert Runtime(cache=str(tmp_path)).cache_folder == tmp_path
    with pytest.raises(InputError, match="memory must be more than 0"):
        Runtime(memory=0)
