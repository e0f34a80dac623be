"""Decision records: how a state and its questions are worded, what an answer may be, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likra import load
from likra.data import Prompter
from likra.data.decisions import answer_place, read_decision, state_text, worded
from likra.errors import InputError
from likra.training.dataset import TrainingSet
from tests.conftest import tiny_base

BILLING = {"type": "noul", "instructions": "Is this ticket about billing?"}
TEAM = {
    "type": "choice",
    "instructions": "Which team?",
    "criteria": {"technical": None, "billing": "Charges, refunds", "access": {"what": "Logins"}},
}
URGENCY = {"type": "score", "instructions": "How urgent?", "criteria": ["can wait", "this week", "today"]}
QUESTIONS = {"billing": BILLING, "team": TEAM, "urgency": URGENCY}


def record(state: Any = "I was charged twice.", **changes: Any) -> dict[str, Any]:
    answers = {"billing": True, "team": "billing", "urgency": 1}
    return {"state": state, "questions": QUESTIONS, "answers": answers} | changes


def written(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return str(path)


def test_each_question_is_one_with_choices(tmp_path: Path) -> None:
    source = load(written(tmp_path / "train.jsonl", record()))
    assert (source.form, source.style) == ("decision records", "qa")
    billing, team, urgency = source.questions["train"]
    assert billing.text == "I was charged twice.\n\nIs this ticket about billing?"
    assert (billing.choices, billing.answer, billing.group) == (("yes", "no"), 0, "billing")
    assert team.text == ('I was charged twice.\n\nWhich team?\naccess: {"what": "Logins"}\nbilling: Charges, refunds')
    assert (team.choices, team.answer) == (("technical", "billing", "access"), 1)
    assert (urgency.text, urgency.answer) == ("I was charged twice.\n\nHow urgent?", 1)
    assert urgency.choices == ("can wait", "this week", "today")
    prompts = [Prompter("qa").pairs(one)[0][0] for one in (billing, team, urgency)]
    assert all(str(prompt).startswith("Question: I was charged twice.\n\n") for prompt in prompts)


def test_the_order_of_options_and_keys_changes_nothing() -> None:
    turned = TEAM | {"criteria": dict(reversed(list(TEAM["criteria"].items())))}  # type: ignore[attr-defined]
    one, other = (worded("A.", read_decision(asked)) for asked in (TEAM, turned))
    assert one.text == other.text and set(one.choices) == set(other.choices)
    assert state_text({"b": [1, {"d": 2, "c": "ä"}], "a": None}) == '{"a": null, "b": [1, {"c": "ä", "d": 2}]}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1))
def test_a_state_is_the_same_text_whatever_the_order_of_its_keys(state: dict[str, Any]) -> None:
    text = state_text(state)
    assert "\n" not in text and json.loads(text) == state
    assert state_text(dict(reversed(list(state.items())))) == text


@pytest.mark.parametrize(
    ("question", "answer", "place"),
    [
        (BILLING, True, 0),
        (BILLING, False, 1),
        (BILLING, "no", 1),
        (BILLING, {"type": "noul", "noul": True}, 0),
        (TEAM, "access", 2),
        (TEAM, " billing ", 1),
        (TEAM, {"type": "choice", "choice": "billing", "probabilities": {"billing": 0.9}, "confidence": 0.8}, 1),
        (URGENCY, "today", 2),
        (URGENCY, 2, 2),
        (URGENCY, 1.0, 1),
        (URGENCY, {"type": "score", "score": 2, "legend": {"2": "today"}}, 2),
        (URGENCY | {"criteria": ["0", "1", "2"]}, 1, 1),
        (URGENCY | {"criteria": ["1", "2", "3"]}, "1", 0),
    ],
)
def test_answers_as_a_log_has_them(question: dict[str, Any], answer: Any, place: int, tmp_path: Path) -> None:
    one = {"state": "S", "questions": {"q": question}, "answers": {"q": answer}}
    [found] = load(written(tmp_path / "train.jsonl", one)).questions["train"]
    assert found.answer == place == answer_place(read_decision(question), answer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": 3}, "field 'state' is int, not text or a JSON object or list"),
        ({"state": None}, "field 'state' is missing, not text or a JSON"),
        ({"state": " "}, "field 'state' is empty"),
        ({"state": {}}, "field 'state' is empty"),
        ({"questions": {}}, "field 'questions' is empty"),
        ({"questions": [BILLING]}, "field 'questions' is list, not an object"),
        ({"answers": "yes"}, "field 'answers' is text that is not JSON"),
        ({"questions": {"billing": "Is it?"}}, "answers.team' answers none of the questions, billing"),
        ({"questions": QUESTIONS | {"team": "Which?"}}, "field 'questions.team' is str, not an object with type"),
        (
            {"questions": QUESTIONS | {"team": TEAM | {"type": "box"}}},
            "field 'questions.team.type' is 'box'; it must be",
        ),
        ({"questions": QUESTIONS | {"team": {"type": "choice"}}}, "field 'questions.team.instructions' is empty"),
        ({"questions": QUESTIONS | {"team": TEAM | {"instructions": " "}}}, "'questions.team.instructions' is empty"),
        (
            {"questions": QUESTIONS | {"team": TEAM | {"instructions": 3}}},
            "'questions.team.instructions' is 3, not text",
        ),
        (
            {"questions": QUESTIONS | {"team": TEAM | {"criteria": {"billing": None}}}},
            "field 'questions.team.criteria' has 1 option; a question of the type choice has 2 to 255",
        ),
        (
            {"questions": QUESTIONS | {"team": TEAM | {"criteria": {str(n): None for n in range(256)}}}},
            "field 'questions.team.criteria' has 256 options",
        ),
        ({"questions": QUESTIONS | {"team": TEAM | {"criteria": ["a", "b"]}}}, "is list, not an object with the desc"),
        (
            {"questions": QUESTIONS | {"team": TEAM | {"criteria": {"a": 1, "b": None}}}},
            "'questions.team.criteria.a' is 1",
        ),
        ({"questions": QUESTIONS | {"team": TEAM | {"criteria": {"a": None, "a ": None}}}}, "has the option 'a' twice"),
        ({"questions": QUESTIONS | {"team": TEAM | {"criteria": {"a": None, " ": None}}}}, "an option without a text"),
        ({"questions": QUESTIONS | {"urgency": URGENCY | {"criteria": ["now"]}}}, "has 1 option"),
        ({"questions": QUESTIONS | {"urgency": URGENCY | {"criteria": None}}}, "is missing, not a list of levels"),
        (
            {"questions": QUESTIONS | {"billing": BILLING | {"criteria": ["a"]}}},
            "must be a text, or an object that desc",
        ),
        (
            {"answers": {"team": "sales"}},
            "field 'answers.team' is 'sales', which is not an option; give one of 'technic",
        ),
        ({"answers": {"team": 1}}, "field 'answers.team' is 1, which is not an option"),
        ({"answers": {"team": ["billing"]}}, "field 'answers.team' is ['billing'], which is not an option"),
        ({"answers": {"billing": 0.94}}, "field 'answers.billing' is 0.94, a probability; give the right answer"),
        (
            {"answers": {"billing": {"type": "noul", "noul": 0.94}}},
            "field 'answers.billing.noul' is 0.94, a probability",
        ),
        (
            {"answers": {"billing": {"type": "choice", "choice": "a"}}},
            "is not the answer to a question of the type noul",
        ),
        ({"answers": {"urgency": 0.49}}, "field 'answers.urgency' is 0.49, between two levels"),
        ({"answers": {"urgency": 3}}, "field 'answers.urgency' is 3, out of range for 3 levels; count from 0"),
        ({"answers": {"urgency": True}}, "field 'answers.urgency' is True, which is not an option"),
    ],
)
def test_what_breaks_the_rules_is_refused_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", record("Fine."), record(**changes))
    with pytest.raises(InputError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}, line 2: ") and message in text and "\n" not in text


def test_an_index_that_could_be_a_level() -> None:
    with pytest.raises(InputError, match="is 1, which could be an index or a level"):
        answer_place(read_decision(URGENCY | {"criteria": ["1", "2", "3"]}), 1)


def test_questions_without_an_answer_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [record(answers={"team": "billing", "urgency": None}), record("Another one.")]
    source = load(written(tmp_path / "train.jsonl", *rows))
    assert len(source.questions["train"]) == 4
    assert source.skipped == {"one of its questions has no answer": 2}


def test_questions_about_one_state_stay_on_one_side(tmp_path: Path) -> None:
    rows = [record({"ticket": f"Number {n % 40}.", "id": n % 40}) for n in range(80)]
    source = load(written(tmp_path / "log.jsonl", *rows))
    train, test = ({one.state for one in source.questions[split]} for split in ("train", "test"))
    assert train and test and not train & test
    assert sum(map(len, source.questions.values())) == 240
    # None of the questions about a state is an example in a prompt about it.
    asked = source.questions["train"][0]
    [(prompt, _), *_] = Prompter("qa", 1, source.questions["train"]).pairs(asked)
    assert str(prompt).count(asked.state) == 1


def test_csv_holds_them_as_json(tmp_path: Path) -> None:
    fields = [json.dumps(value).replace('"', '""') for value in (QUESTIONS, record()["answers"])]
    path = tmp_path / "train.csv"
    path.write_text('state,questions,answers\n"I was charged twice.","{}","{}"\n'.format(*fields), encoding="utf-8")
    assert load(str(path)).questions == load(written(tmp_path / "train.jsonl", record())).questions


def test_a_state_beyond_the_context_loses_its_beginning_and_is_counted(tokenizer: Any, tmp_path: Path) -> None:
    source = load(written(tmp_path / "train.jsonl", record("word " * 100 + "last."), record()))
    base = tiny_base(tokenizer)
    found = TrainingSet.of(base, ["positive"], source, style="qa")
    assert found.facts["prompts_cut"] == {"positive": 3}
    longest = tokenizer.decode(found.pairs["positive"][0].context)
    assert longest.endswith("last.\n\nIs this ticket about billing?\nAnswer:") and "Question" not in longest


@pytest.mark.parametrize("kind", ["choice", "score"])
def test_criteria_under_another_name_are_named(kind: str) -> None:
    asked = {"type": kind, "instructions": "Which?", "options": {"a": None, "b": None}}
    with pytest.raises(InputError, match=r"field 'question.criteria' is missing, .*\. \(Not read: 'options'\.\)$"):
        read_decision(asked)
    with pytest.raises(InputError, match=r"field 'question.instructions' is empty; .*\(Not read: 'options'\.\)$"):
        read_decision({"type": kind, "options": {"a": None, "b": None}})
    with pytest.raises(InputError, match=r"field 'question.criteria' is missing, [^(]*\.$"):
        read_decision({"type": kind, "instructions": "Which?"})
