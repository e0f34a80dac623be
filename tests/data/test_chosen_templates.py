"""Templates that a user chooses for data of any form: listed options, and chat."""

import json
from pathlib import Path
from typing import Any

import pytest

from likra.data import Prompter, Question, Source, load, negatives, positives
from likra.data.conversation import Conversation, rendered
from likra.data.overlap import digest
from likra.data.sources import in_style_of, restyled
from likra.data.templates import scored_texts
from likra.data.tokens import encode_pairs
from likra.errors import InputError
from likra.training.dataset import TrainingSet
from tests.conftest import tiny_base

GAS = Question("1", " Which gas? ", ("oxygen ", "argon", "neon"), 1)
METAL = Question("2", "Which metal?", ("iron", "tin"), 0)
CITY = Question("3", "Which city?", ("Rome", "Oslo"), 1)

#: As Llama's: the template has the BOS that the tokenizer adds too, and new lines around the turns.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]\n{{ message.content }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}"
)


@pytest.fixture
def chatting(tokenizer: Any) -> Any:
    """The tiny tokenizer with a chat template."""
    tokenizer.chat_template = TEMPLATE
    yield tokenizer
    tokenizer.chat_template = None


def test_options_are_listed_and_their_letters_scored() -> None:
    prompt = "Which gas?\nA. oxygen\nB. argon\nC. neon\nAnswer:"
    assert Prompter("options").pairs(GAS) == [(prompt, " A"), (prompt, " B"), (prompt, " C")]
    shot = "Which metal?\nA. iron\nB. tin\nAnswer: A\n\n"
    assert Prompter("options", 1, [METAL, CITY]).pairs(GAS)[2] == (shot + prompt, " C")
    assert [example.completion for example in positives([GAS], Prompter("options"))] == [" B"]
    assert [example.completion for example in negatives([GAS], Prompter("options"), "all")] == [" A", " C"]
    assert scored_texts("options", GAS) == ["A", "B", "C"] and scored_texts("qa", GAS) == ["oxygen", "argon", "neon"]


def test_options_that_cannot_be_listed_are_refused() -> None:
    many = Question("m", "?", tuple(f"choice {n}" for n in range(27)), 0)
    with pytest.raises(InputError, match=r"'m' has 27 choices; .* need 2 to 26"):
        Prompter("options").pairs(many)
    assert Prompter("options").pairs(Question("m", "?", many.choices[:26], 0))[-1][1] == " Z"
    with pytest.raises(InputError, match="'n' has 1 choices"):
        Prompter("options").pairs(Question("n", "?", ("one",), 0))
    for kind in ("irrelevant", "unrelated"):
        with pytest.raises(InputError, match="are no choice that a prompt lists"):
            negatives([GAS], Prompter("options"), kind, pool=["x"])


def test_a_copy_of_the_right_option_is_no_negative() -> None:
    twice = Question("t", "?", ("yes", "no", "yes "), 0)
    assert [example.completion for example in negatives([twice], Prompter("options"), "all")] == [" B"]
    assert Prompter("options").pairs(twice)[0][0] == "?\nA. yes\nB. no\nC. yes\nAnswer:"


def test_a_conversation_has_the_examples_as_earlier_turns() -> None:
    [(context, answer), *_] = Prompter("chat", 1, [METAL, CITY]).pairs(GAS)
    assert answer == "oxygen"
    assert context == Conversation((("user", "Which metal?"), ("assistant", "iron"), ("user", " Which gas? ")))
    assert str(context) == "user: Which metal?\nassistant: iron\nuser:  Which gas? \nassistant:"


def test_a_conversation_is_tokenized_as_transformers_does(chatting: Any) -> None:
    [(context, answer), *_] = Prompter("chat", 1, [METAL, CITY]).pairs(GAS)
    assert isinstance(context, Conversation)
    messages = context.messages
    prompt = chatting.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    whole = chatting.apply_chat_template([*messages, {"role": "assistant", "content": answer}], return_dict=False)
    [pair] = encode_pairs(chatting, context, [answer], 1000)
    assert list(pair.context) == prompt
    assert list(pair.context + pair.completion) == whole[: len(prompt) + len(pair.completion)]
    assert chatting.decode(pair.completion) == answer
    assert pair.context.count(chatting.bos_token_id) == 1
    cut, _ = encode_pairs(chatting, context, ["argon", "neon"], 20)
    assert len(cut.context + cut.completion) == 21 and cut.cut == len(prompt) + len(cut.completion) - 21


def test_a_tokenizer_without_a_chat_template_is_refused_in_one_line(tokenizer: Any) -> None:
    for ask in (
        lambda: rendered(tokenizer, Conversation((("user", "?"),))),
        lambda: TrainingSet.of(tiny_base(tokenizer), ["positive"], [GAS], style="chat"),
    ):
        with pytest.raises(InputError, match=r"^the tokenizer has no chat template"):
            ask()


def test_what_a_chat_template_refuses(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match=r"refuses the prompt \(roles must alternate\)"):
        rendered(tokenizer, Conversation((("user", "?"),)))
    tokenizer.chat_template = None


def source(style: str = "qa", *questions: Question) -> Source:
    return Source("mine", "likra", style, {"train": list(questions or (GAS, METAL))})


def test_a_chosen_template_stays_and_heads_bring_theirs() -> None:
    assert in_style_of(source(), "chat").style == in_style_of(source("plain"), "chat").style == "chat"
    assert in_style_of(source(), "plain").style == "qa"
    assert in_style_of(restyled(source(), "qa"), "chat").style == "qa"
    assert load("world", "plain").chosen and not load("world").chosen
    assert restyled(source(), "options").questions == source().questions


def test_the_place_of_a_choice_never_tells_the_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": f"Which {n}?", "chosen": f" good {n}", "rejected": f" bad {n}"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, listed = load(str(tmp_path / "pairs.jsonl")), load(str(tmp_path / "pairs.jsonl"), "options")
    assert "every right answer is choice 1" in caplog.text
    assert {question.answer for question in plain.questions["train"]} == {0}
    for before, after in zip(plain.questions["train"], listed.questions["train"], strict=True):
        assert before.answer is not None and after.answer is not None
        assert after.choices[after.answer] == before.choices[before.answer]
        assert set(after.choices) == set(before.choices)
    assert 9 < sum(question.answer == 0 for question in listed.questions["train"]) < 27
    assert listed == load(str(tmp_path / "pairs.jsonl"), "options")


def test_templates_that_are_not_for_the_data(tmp_path: Path) -> None:
    for style, other, message in (
        ("empty", "chat", "in which nothing is asked"),
        ("cloze", "qa", "whose answers fill blanks"),
        ("qa", "cloze", "whose answers fill no blank"),
    ):
        with pytest.raises(InputError, match=f"the template {other!r} is not for this data, {message}"):
            restyled(source(style), other)
    with pytest.raises(InputError, match="has no choices to list"):
        restyled(source("qa", Question("1", "?", ("one",), 0)), "options")
    with pytest.raises(InputError, match=r"style must be one of qa, .*, got 'odd'"):
        load("nowhere", "odd")


def test_thumbs_become_conversations(chatting: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"Which {n}?", "completion": f" one {n}", "label": n % 2 == 0} for n in range(4)]
    (tmp_path / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, worded = load(str(tmp_path / "thumbs.jsonl")), load(str(tmp_path / "thumbs.jsonl"), "chat")
    first = worded.examples["train"][0]
    assert (first.prompt, first.completion, first.right) == (Conversation((("user", "Which 0?"),)), "one 0", True)
    assert digest(first) == digest(plain.examples["train"][0])
    found = TrainingSet.of(tiny_base(chatting), ["positive", "negative"], worded, style="qa")
    assert found.style == "chat"
    text = chatting.decode(found.pairs["negative"][0].context + found.pairs["negative"][0].completion)
    assert text == "<s>[user]\nWhich 1?</s>\n[assistant]\none 1"
    with pytest.raises(InputError, match="has no choices to list"):
        load(str(tmp_path / "thumbs.jsonl"), "options")
