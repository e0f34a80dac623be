"""A template or a form of data from outside the package: one file, and it works where the package's own do."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from likra.data import TEMPLATES, Prompter, Question, load, negatives
from likra.data.forms import FORMS
from likra.data.templates import answer_text

TOY_TEMPLATE = """
from likra.data.templates import Template, register

@register
class Toy(Template):
    name, title = "toy", "a question with a name"

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        return f"Toy asks: {text}", f" {answer}!"
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that are not the package's."""
    monkeypatch.syspath_prepend(tmp_path)
    templates, forms = dict(TEMPLATES), list(FORMS)
    yield tmp_path
    TEMPLATES.clear()
    TEMPLATES.update(templates)
    FORMS[:] = forms
    for name in ("toy_template", "toy_form"):
        sys.modules.pop(name, None)


def test_a_template_from_outside(outside: Path) -> None:
    (outside / "toy_template.py").write_text(TOY_TEMPLATE)
    import toy_template  # noqa: F401  # registers it

    asked, shown = (Question(f"q{n}", f"Which {n}?", ("a ", "b"), 0) for n in range(2))
    prompter = Prompter("toy", shots=1, pool=[asked, shown])
    assert prompter.pairs(asked) == [
        ("Toy asks: Which 1? a!\n\nToy asks: Which 0?", " a!"),
        ("Toy asks: Which 1? a!\n\nToy asks: Which 0?", " b!"),
    ]
    [wrong] = negatives([asked], Prompter("toy"))
    assert (wrong.prompt, wrong.completion) == ("Toy asks: Which 0?", " b!")
    assert answer_text("toy", "a ") == "a"


TOY_FORM = """
from likra.data import Question
from likra.data.forms import Form, register

def read(record):
    return Question(record["nr"], record["question"], (record["answer"], record["other"]), 0)

register(Form("toy", ("nr", "question", "answer", "other"), "plain", read))
"""


def test_a_form_from_outside(outside: Path) -> None:
    data = outside / "data.jsonl"
    rows = [{"nr": f"t{n}", "question": f"Which {n}?", "answer": "oxygen", "other": "argon"} for n in range(3)]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (outside / "toy_form.py").write_text(TOY_FORM)
    assert load(str(data)).form == "right answers only"
    import toy_form  # noqa: F401  # registers it

    source = load(str(data))
    assert (source.form, source.style) == ("toy", "plain")
    assert {q.id: q.choices for q in source.questions["train"]} == {f"t{n}": ("oxygen", "argon") for n in range(3)}
