"""Every form and source, on small files in the layout of the real ones, and what is refused."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

import likra.utils.hub_client
from likra.data import Prompter, load, negatives
from likra.data.sources import benchmarks, loading
from likra.data.sources.files import folder_records
from likra.errors import InputError

OFFICIAL_ARC = {
    "id": "A1",
    "question": {
        "stem": "Which is warm?",
        "choices": [{"text": "ice", "label": "1"}, {"text": "fire", "label": "2"}, {"text": "snow", "label": "3"}],
    },
    "answerKey": "2",
}
HUB_ARC = {
    "id": "A1",
    "question": "Which is warm?",
    "choices": {"text": ["ice", "fire", "snow"], "label": ["A", "B", "C"]},
    "answerKey": "B",
}
HELLASWAG = {
    "ind": 4,
    "activity_label": "Removing ice from car",
    "ctx_a": "Then, the man writes over the snow.",
    "ctx_b": "then",
    "ctx": "unused",
    "endings": [", he stops.", ", the man [substeps] goes on.", "a", "b"],
    "split": "val",
    "label": "1",
}
WINOGRANDE = {
    "sentence": "The cup did not fit the bag because the _ was too big.",
    "option1": "cup",
    "option2": "bag",
    "answer": "1",
}
MC_TASK = {"question": "What is up?", "mc1_targets": {"The sky.": 1, "The floor.": 0}, "mc2_targets": {}}
HUB_TRUTHFULQA = {
    "question": "What is up?",
    "mc1_targets": {"choices": ["The sky.", "The floor."], "labels": [1, 0]},
    "mc2_targets": {"choices": [], "labels": []},
}
BLIMP = {"sentence_good": "Travis is touring.", "sentence_bad": "Travis is revealing.", "UID": "u", "pairID": "0"}
PREFERENCE = {"prompt": "Say hello.\n", "chosen": "Hello!", "rejected": "No."}
OWN = {"question": "Which is warm?", "choices": ["ice", "fire"], "answer": 1}


def write(path: Path, *records: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("record", "form", "pairs", "answer"),
    [
        (
            OFFICIAL_ARC,
            "official ARC",
            [("Question: Which is warm?\nAnswer:", f" {text}") for text in ("ice", "fire", "snow")],
            1,
        ),
        (
            HUB_ARC,
            "hub ARC",
            [("Question: Which is warm?\nAnswer:", f" {text}") for text in ("ice", "fire", "snow")],
            1,
        ),
        (
            HELLASWAG,
            "HellaSwag",
            [
                ("Removing ice from car: Then, the man writes over the snow. Then", f" {text}")
                for text in (", he stops.", ", the man goes on.", "a", "b")
            ],
            1,
        ),
        (
            WINOGRANDE,
            "WinoGrande",
            [(f"The cup did not fit the bag because the {word}", " was too big.") for word in ("cup", "bag")],
            0,
        ),
        (BLIMP, "BLiMP", [("", " Travis is touring."), ("", " Travis is revealing.")], 0),
        (PREFERENCE, "preference pairs", [("Say hello.\n", "Hello!"), ("Say hello.\n", "No.")], 0),
        (
            OWN,
            "likra",
            [("Question: Which is warm?\nAnswer:", " ice"), ("Question: Which is warm?\nAnswer:", " fire")],
            1,
        ),
    ],
)
def test_each_form_is_recognised_and_worded(
    record: dict[str, Any], form: str, pairs: list[tuple[str, str]], answer: int, tmp_path: Path
) -> None:
    source = load(write(tmp_path / "data.jsonl", record))
    assert source.form == form
    [question] = source.split("all")
    assert Prompter(source.style).pairs(question) == pairs
    assert question.answer == answer


@pytest.mark.parametrize("record", [MC_TASK, HUB_TRUTHFULQA])
def test_truthfulqa_has_its_six_examples(record: dict[str, Any], tmp_path: Path) -> None:
    source = load(write(tmp_path / "data.jsonl", record))
    [question] = source.split("all")
    [(context, completion), _] = Prompter(source.style).pairs(question)
    assert context.startswith("Q: What is human life expectancy") and context.endswith("Spain.\n\nQ: What is up?\nA:")
    assert completion == " The sky."
    with pytest.raises(InputError, match="has fixed examples of its own"):
        Prompter(source.style, 2, source.split("all"))


def test_unpaired_data_are_examples(tmp_path: Path) -> None:
    records = [
        {"prompt": "Hi.", "completion": " Hello.", "label": True},
        {"prompt": "Hi.", "completion": " No.", "label": 0},
    ]
    source = load(write(tmp_path / "data.jsonl", *records))
    assert source.unpaired and [example.right for example in source.examples["train"]] == [True, False]
    with pytest.raises(InputError, match="has no choices to choose from"):
        source.split(None)


@pytest.mark.parametrize(("answer", "index"), [(1, 1), ("1", 1), ("B", 1), ("b", 1), ("fire", 1), (0, 0), ("A", 0)])
def test_the_own_form_takes_an_index_a_letter_or_the_text(answer: Any, index: int, tmp_path: Path) -> None:
    [question] = load(write(tmp_path / "d.jsonl", {**OWN, "answer": answer})).split("all")
    assert question.answer == index


def test_formats_of_files(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "d.json").write_text(json.dumps([OWN]))
    (tmp_path / "d.csv").write_text('question,choices,answer\nWhich is warm?,"[""ice"", ""fire""]",B\n')
    parquet.write_table(pa.Table.from_pylist([OWN]), tmp_path / "d.parquet")
    expected = load(write(tmp_path / "d.jsonl", OWN)).split("all")
    for name in ("d.json", "d.csv", "d.parquet"):
        assert load(str(tmp_path / name)).split("all") == expected
    (tmp_path / "u.csv").write_text("prompt,completion,label\nHi., Hello.,true\nHi., No.,0\n")
    assert [example.right for example in load(str(tmp_path / "u.csv")).examples["train"]] == [True, False]


def test_csv_keeps_odd_line_breaks_and_long_fields(tmp_path: Path) -> None:
    long = "x" * 200_000
    (tmp_path / "d.csv").write_text(f'prompt,chosen,rejected\n"a\u2028b\nc",{long},no\n', encoding="utf-8")
    [question] = load(str(tmp_path / "d.csv")).split("all")
    assert question.text == "a\u2028b\nc" and question.choices == (long, "no")


def test_splits_come_from_file_names_then_from_a_field_then_from_a_hash(tmp_path: Path) -> None:
    for name in ("X-Train", "X-Dev", "X-Test"):
        write(tmp_path / "folder" / f"{name}.jsonl", {**OWN, "id": name})
    by_name = load(str(tmp_path / "folder"))
    assert {split: [q.id for q in qs] for split, qs in by_name.questions.items()} == {
        "train": ["X-Train"],
        "validation": ["X-Dev"],
        "test": ["X-Test"],
    }
    own = load(write(tmp_path / "own.jsonl", {**OWN, "split": "dev"}, {**OWN, "split": "train"}))
    assert list(own.questions) == ["train", "validation"] and own.split(None) == own.questions["validation"]

    records = [{**OWN, "id": f"q{number}", "question": f"Which is {number}?"} for number in range(2000)]
    hashed = load(write(tmp_path / "plain.jsonl", *records))
    assert 150 < len(hashed.questions["test"]) < 250
    # Stable: a question stays on its side when others come and go, and in any order.
    fewer = load(write(tmp_path / "fewer.jsonl", *reversed(records[::3])))
    sides = {q.id: split for split, qs in hashed.questions.items() for q in qs}
    assert all(sides[q.id] == split for split, qs in fewer.questions.items() for q in qs)


def test_records_without_an_answer_are_skipped_and_counted(tmp_path: Path) -> None:
    source = load(write(tmp_path / "d.jsonl", HELLASWAG, {**HELLASWAG, "label": ""}, {**HELLASWAG, "label": ""}))
    assert source.skipped == {"the right answer is not given": 2}
    with pytest.raises(InputError, match="none of its records can be used: the right answer is not given"):
        load(write(tmp_path / "none.jsonl", {**WINOGRANDE, "answer": ""}))


def test_questions_whose_choices_are_all_the_same_are_skipped_and_counted(tmp_path: Path) -> None:
    same = {**BLIMP, "sentence_bad": BLIMP["sentence_good"]}
    source = load(write(tmp_path / "d.jsonl", BLIMP, same))
    assert len(source.split("all")) == 1 and source.skipped == {"all of its choices are the same text": 1}


def choices(*texts: str) -> dict[str, Any]:
    return {**OWN, "choices": list(texts)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": 1', "line 1: malformed JSON"),
        (json.dumps(OWN) + "\n{nope\n", "line 2: malformed JSON"),
        ("[1, 2]\n", "line 1: is list, not a JSON object"),
        (
            '{"a": 1, "b": 2}\n',
            "line 1: of no known form. It has the fields a, b. The usual forms: decision records (state, questions, ",
        ),
        (json.dumps(choices()), "line 1: field 'choices' has no choices; a question needs at least two"),
        (json.dumps(choices("ice")), "line 1: field 'choices' has only one choice"),
        (json.dumps(choices("ice", " ")), "line 1: field 'choices': choice 1 is empty"),
        (json.dumps({**OWN, "choices": "ice, fire"}), "line 1: field 'choices' is str, not a list"),
        (json.dumps({**OWN, "answer": 2}), "line 1: field 'answer' is 2, out of range for 2 choices"),
        (json.dumps({**OWN, "answer": -1}), "line 1: field 'answer' is -1, out of range"),
        (json.dumps({**OWN, "answer": "E"}), "line 1: field 'answer' is 'E', out of range"),
        (json.dumps({**OWN, "answer": "warm"}), "line 1: field 'answer' is 'warm', which is not a choice"),
        (
            json.dumps({**OFFICIAL_ARC, "answerKey": "D"}),
            "line 1: field 'answerKey' is 'D', not among the labels 1, 2, 3",
        ),
        (json.dumps({**HELLASWAG, "label": "4"}), "line 1: field 'label' is '4', out of range for 4 choices"),
        (json.dumps({**WINOGRANDE, "sentence": "No blank."}), "line 1: field 'sentence' has 0 blanks"),
        (json.dumps({**MC_TASK, "mc1_targets": {"a": 0, "b": 0}}), "line 1: field 'mc1_targets' has 0 right answers"),
        (json.dumps({**PREFERENCE, "rejected": ""}), "line 1: field 'rejected' is empty"),
        (
            json.dumps({**PREFERENCE, "chosen": [{"role": "user", "content": "hi"}]}),
            "line 1: field 'chosen' ends in a message of the role 'user'; the last message must be the answer",
        ),
        (
            json.dumps({"prompt": "a", "completion": "  ", "label": True}),
            "line 1: field 'completion' is empty",
        ),
        (json.dumps({"prompt": "a", "completion": "b", "label": "good"}), "line 1: field 'label' is 'good'"),
        (
            json.dumps(OWN) + "\n" + json.dumps(BLIMP),
            "line 2: is of the form BLiMP, but the records before it are likra",
        ),
        (json.dumps({**OWN, "split": "holdout"}), "line 1: field 'split' is 'holdout'"),
        ("\n\n", "holds no records"),
        (
            '{"question": "?", "choices": ["2", "1", "0"], "answer": "2"}',
            "is '2', which is the text of choice 0 but could",
        ),
        ('{"question": "?", "choices": ["b", "a"], "answer": "a"}', "is 'a', which is the text of choice 1 but could"),
        (
            '{"question": "?", "choices": ["a", "b"]}',
            "has the fields question, choices. To be of the form likra it lacks",
        ),
        ('{"question": "cut \\ud83d", "choices": ["a", "b"], "answer": 0}', "line 1: holds half a character"),
        (json.dumps({**OWN, "split": ["train"]}), "line 1: field 'split' is ['train']"),
        (json.dumps({**OWN, "labels": 3}), "line 1: field 'labels' is int, not a list"),
        (json.dumps({**OWN, "labels": ["a", "a"]}), "line 1: field 'labels' has the label 'a' twice"),
        (json.dumps({**OWN, "labels": ["a", "b", "c"]}), "line 1: field 'labels' has 3 labels for 2 choices"),
        (json.dumps({**OWN, "answer": "²"}), "line 1: field 'answer' is '²', which is not a choice"),
        (json.dumps(HUB_ARC) + "\n" + json.dumps({**HUB_ARC, "choices": ["a", "b"]}), "line 2: of no known form"),
        (
            json.dumps({**OFFICIAL_ARC, "question": {**OFFICIAL_ARC["question"], "stem": None}}),
            "field 'stem' is NoneType",
        ),  # type: ignore[dict-item]
        (json.dumps({**MC_TASK, "mc1_targets": ["a"]}), "line 1: its fields are not as the form TruthfulQA has them"),
        ('{"question": ' + "9" * 5000 + "}", "line 1: JSON that cannot be read"),
        ("[" * 100_000, "line 1: JSON that cannot be read"),
    ],
)
def test_bad_records_are_refused_by_file_line_and_field(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load(str(path))
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder, and no known source; .* are .*world, arc"):
        load(str(tmp_path / "none.jsonl"))
    (tmp_path / "d.txt").write_text("hello")
    with pytest.raises(InputError, match=r"files of type .txt are not read"):
        load(str(tmp_path / "d.txt"))
    (tmp_path / "d.jsonl").write_bytes(b'{"question": "\xff"}')
    with pytest.raises(InputError, match="is not UTF-8"):
        load(str(tmp_path / "d.jsonl"))
    (tmp_path / "d.json").write_text('{"question": 1}')
    with pytest.raises(InputError, match="is a JSON dict, not a list of objects"):
        load(str(tmp_path / "d.json"))
    (tmp_path / "d.parquet").write_text("no")
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        load(str(tmp_path / "d.parquet"))
    (tmp_path / "d.csv").write_text("question,choices,answer\nWhich?,A\n")
    with pytest.raises(InputError, match=r"d.csv, line 2: has more or fewer values"):
        load(str(tmp_path / "d.csv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no .jsonl, .json, .csv, .parquet file"):
        load(str(tmp_path / "empty"))
    write(tmp_path / "mixed" / "train.jsonl", OWN)
    write(tmp_path / "mixed" / "other.jsonl", OWN)
    with pytest.raises(InputError, match=r"other.jsonl: names no split"):
        load(str(tmp_path / "mixed"))
    source = load(write(tmp_path / "train.jsonl", OWN))
    with pytest.raises(InputError, match=r"has no questions in its test split \(it has: train 1\)"):
        source.split(None)
    with pytest.raises(InputError, match="split must be one of train, validation, test or all, got 'dev'"):
        source.split("dev")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub of local folders in the layout of the real repositories, read by the real `datasets`."""

    def put(repository: str, **splits: list[dict[str, Any]]) -> None:
        for split, records in splits.items():
            write(tmp_path / repository / f"{split}.jsonl", *records)

    put(
        "allenai/ai2_arc/ARC-Challenge",
        train=[{**HUB_ARC, "id": "c-train"}],
        test=[{**HUB_ARC, "id": "c-test"}],
        validation=[{**HUB_ARC, "id": "c-dev"}],
    )
    put(
        "allenai/ai2_arc/ARC-Easy",
        train=[{**HUB_ARC, "id": "e-train"}],
        test=[{**HUB_ARC, "id": "e-test"}],
        validation=[{**HUB_ARC, "id": "e-dev"}],
    )
    put("Rowan/hellaswag", train=[HELLASWAG], validation=[HELLASWAG], test=[{**HELLASWAG, "label": ""}])
    put("someone/own", train=[{**OWN, "question": f"Which is {n}?"} for n in range(40)])
    real = datasets.load_dataset

    def load_local(repository: str, name: str | None = None) -> Any:
        folder = tmp_path / repository / (name or "")
        if not folder.is_dir():
            raise ConnectionError(f"Couldn't reach '{repository}' on the Hub (LocalEntryNotFoundError)")
        files = {path.stem: str(path) for path in folder.glob("*.jsonl")}
        return real("json", data_files=files, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_local)
    monkeypatch.setattr(likra.utils.hub_client, "reachable", lambda: True)
    return tmp_path


def test_named_benchmarks_are_read_from_the_hub(hub: Path) -> None:
    arc = load("arc-challenge")
    assert arc.form == "hub ARC" and [q.id for q in arc.split(None)] == ["c-test"]
    hellaswag = load("hellaswag")
    assert list(hellaswag.questions) == ["train", "validation"]
    assert hellaswag.skipped == {"the right answer is not given": 1}
    assert len(hellaswag.split(None)) == 1  # validation, where the test answers are withheld


def test_the_papers_arc_split_trains_on_all_but_the_challenge_test(hub: Path) -> None:
    source = load("arc-paper")
    assert [q.id for q in source.questions["test"]] == ["c-test"]
    assert sorted(q.id for q in source.questions["train"]) == ["c-dev", "c-train", "e-dev", "e-test", "e-train"]


def test_any_data_set_of_the_hub_and_one_without_splits(hub: Path) -> None:
    source = load("hf:someone/own")
    assert set(source.questions) == {"train", "test"} and len(source.split("all")) == 40


def test_a_hub_that_cannot_be_reached_is_one_clear_line(hub: Path) -> None:
    with pytest.raises(
        InputError, match=r"no/such: cannot be loaded from the Hugging Face hub \(ConnectionError"
    ) as caught:
        load("hf:no/such")
    assert "Check the name and the network" in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_that_is_not_there_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likra.utils.hub_client, "reachable", lambda: False)
    with pytest.raises(InputError, match=r"hub cannot be reached.*Check the network"):
        load("arc-challenge")


def test_a_misspelt_source_is_guessed() -> None:
    with pytest.raises(InputError, match=r"arc-chalenge: no such file .*\(did you mean arc-challenge\?\)"):
        load("arc-chalenge")


def test_numbers_in_text_are_unambiguous_with_labels_or_a_number(tmp_path: Path) -> None:
    legs = {"question": "Legs?", "choices": ["2", "1", "0"], "answer": 2}
    labelled = {**legs, "answer": "x", "labels": ["x", "y", "z"]}
    both = {**legs, "choices": ["4", "5", "2"], "answer": "2"}
    for record, index in ((legs, 2), (labelled, 0), (both, 2)):
        assert load(write(tmp_path / "legs.jsonl", record)).split("all")[0].answer == index


def test_the_real_files_have_their_known_counts(shared: Path) -> None:
    challenge, easy = (load(str(shared / "data" / name)) for name in ("ARC-Challenge", "ARC-Easy"))
    assert {split: len(qs) for split, qs in challenge.questions.items()} == {
        "train": 1119,
        "validation": 299,
        "test": 1172,
    }
    assert {split: len(qs) for split, qs in easy.questions.items()} == {"train": 2251, "validation": 570, "test": 2376}
    blimp = load(str(shared / "data" / "blimp"))
    assert (
        len(blimp.split("all")) == 66_993
        and sum(blimp.skipped.values()) == 7
        and 6_400 < len(blimp.questions["test"]) < 7_000
    )


def test_arc_paper_of_the_real_files_is_6615_questions(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def local(parts: Any) -> Any:
        for _, name in parts:
            yield from folder_records(shared / "data" / str(name))

    for module in (benchmarks, loading):
        monkeypatch.setattr(module, "hub_records", local)
    source = load("arc-paper")
    assert {split: len(qs) for split, qs in source.questions.items()} == {"train": 6615, "test": 1172}


@pytest.mark.parametrize(
    ("record", "form", "style", "text"),
    [
        ({"question": "Which is warm?", "answer": "fire"}, "right answers only", "qa", "Which is warm?"),
        ({"prompt": "Say hello.\n", "completion": "Hello!"}, "right completions only", "verbatim", "Say hello.\n"),
    ],
)
def test_data_with_right_answers_only(record: dict[str, str], form: str, style: str, text: str, tmp_path: Path) -> None:
    records = [{**record, "id": f"q{n}", "split": split} for n, split in enumerate(("train", "train", "test"))]
    source = load(write(tmp_path / "right.jsonl", *records))
    assert (source.form, source.style, source.right_only) == (form, style, True)
    question = source.questions["train"][0]
    assert (question.text, question.choices, question.answer) == (text, (list(record.values())[1],), 0)
    with pytest.raises(InputError, match=r"right answers only.*likra mine"):
        source.split(None)
    with pytest.raises(InputError, match="right answer only; find wrong ones with `likra mine`"):
        negatives(source.questions["train"], Prompter(style))


def test_a_group_is_kept_where_there_is_one(tmp_path: Path) -> None:
    own = load(write(tmp_path / "own.jsonl", {**OWN, "group": "physics"}, {**OWN, "id": "other"}))
    found = {question.group for questions in own.questions.values() for question in questions}
    assert found == {"physics", None}
    blimp = load(write(tmp_path / "blimp.jsonl", BLIMP))
    assert {question.group for question in blimp.split("all")} == {"u"}


def test_arc_paper_wants_its_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*ARC-Challenge"):
        load(f"arc-paper:{tmp_path}")
    for name in ("ARC-Challenge", "ARC-Easy"):
        write(tmp_path / name / "train.jsonl", OFFICIAL_ARC)
    with pytest.raises(InputError, match="no test split"):
        load(f"arc-paper:{tmp_path}")


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"quesion": "Q?", "choices": ["a", "b"], "answer": 0}, r"of the form likra it lacks question \(is 'quesion'"),
        (
            {"question": "Q?", "Choices": ["a", "b"], "gold": 0},
            r"it lacks choices \(is 'Choices' meant\?\), answer",
        ),
        ({"question": "Q?", "choices": ["a", "b"]}, r"likra it lacks answer\. All forms: docs/data\.md\.$"),
        ({"prompt": "Q", "choosen": "a", "rejected": "b"}, r"preference pairs it lacks chosen \(is 'choosen' meant"),
        ({"prompt": "Q"}, r"A prompt alone teaches nothing"),
        ({"text": "Running text.", "id": 3}, r"Divide the text into 'prompt' and 'completion'"),
        (
            {"prompt": "Q", "response": "a", "label": True},
            r"unpaired preference it lacks completion\. Or it is of a table",
        ),
        (
            {"message": "Hi", "team": "sales"},
            r"is 'message' meant\?\)\. Or it is of a table of texts .* --text and --label",
        ),
    ],
)
def test_what_a_record_is_near_to_is_named_alone(record: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load([record])
    assert "The usual forms" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("fields", [("text", "label"), ("ticket", "label"), ("question", "category"), ("a", "b")])
def test_a_table_hears_of_text_and_label(fields: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="a table of texts and labels, whose two fields --text and --label name"):
        load([dict.fromkeys(fields, "x")])
