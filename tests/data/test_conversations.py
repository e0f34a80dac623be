"""Every format that TRL reads, against the tokens that TRL's own trainers make of the same record."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset

from likra import Likra, Question, TrainingConfig, load
from likra.data import Prompter
from likra.data.controls import control
from likra.data.conversation import Conversation
from likra.data.overlap import digest
from likra.data.sources import restyled
from likra.data.tokens import encode_pairs
from likra.errors import InputError
from likra.models.lora_config import lora_config
from likra.training.dataset import TrainingSet
from likra.utils.runtime import QUIET
from tests.conftest import tiny_base
from tests.data.test_chosen_templates import TEMPLATE

#: As Qwen3's: an answered turn at the end has an empty block of thoughts, which the generation prompt has not.
THINKING = (
    "{% for message in messages %}<|{{ message.role }}|>{% if loop.last and message.role == 'assistant' %}"
    "<think></think>\n{% endif %}{{ message.content | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
#: As Gemma 4's: the generation prompt ends in a block that the whole conversation drops.
DROPPING = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|><none>{% endif %}"
)


def says(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


SYSTEM, ASKED = ("system", "Be brief."), ("user", "Which gas?")
RIGHT, WRONG = ("assistant", "oxygen"), ("assistant", "a noble gas")
EARLIER = [("user", "Hello!"), ("assistant", "Hello, what is it?"), ASKED]

#: Name -> (TRL's trainer, a record, the form that likra sees).
FORMS: dict[str, tuple[str, dict[str, Any], str]] = {
    "messages": ("sft", {"messages": says(ASKED, RIGHT)}, "conversations"),
    "messages, system": ("sft", {"messages": says(SYSTEM, ASKED, RIGHT)}, "conversations"),
    "messages, turns": ("sft", {"messages": says(SYSTEM, *EARLIER, RIGHT)}, "conversations"),
    "from and value": (
        "sft",
        {"conversations": [{"from": role, "value": text} for role, text in (*EARLIER, RIGHT)]},
        "conversations",
    ),
    "prompt, completion": (
        "sft",
        {"prompt": says(ASKED), "completion": says(RIGHT)},
        "conversational prompt and completion",
    ),
    "prompt, completion, turns": (
        "sft",
        {"prompt": says(SYSTEM, *EARLIER), "completion": says(RIGHT)},
        "conversational prompt and completion",
    ),
    "prompt, completion, text": (
        "sft",
        {"prompt": "Which gas?", "completion": " oxygen"},
        "right completions only",
    ),
    "preference": (
        "dpo",
        {"prompt": says(ASKED), "chosen": says(RIGHT), "rejected": says(WRONG)},
        "conversational preference pairs",
    ),
    "preference, turns": (
        "dpo",
        {"prompt": says(SYSTEM, *EARLIER), "chosen": says(RIGHT), "rejected": says(WRONG)},
        "conversational preference pairs",
    ),
    "preference, text": (
        "dpo",
        {"prompt": "Which gas?", "chosen": " oxygen", "rejected": " a noble gas"},
        "preference pairs",
    ),
    "implicit": (
        "dpo",
        {"chosen": says(ASKED, RIGHT), "rejected": says(ASKED, WRONG)},
        "conversational preference pairs with an implicit prompt",
    ),
    "implicit, turns": (
        "dpo",
        {"chosen": says(SYSTEM, *EARLIER, RIGHT), "rejected": says(SYSTEM, *EARLIER, WRONG)},
        "conversational preference pairs with an implicit prompt",
    ),
    "implicit beside a text": (
        "dpo",
        {"prompt": "Which gas?", "chosen": says(ASKED, RIGHT), "rejected": says(ASKED, WRONG)},
        "conversational preference pairs with an implicit prompt",
    ),
    "implicit, text": (
        "dpo",
        {"chosen": "Which gas? A: oxygen", "rejected": "Which gas? A: a noble gas"},
        "preference pairs with an implicit prompt",
    ),
    "implicit, text, in a word": (
        "dpo",
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        "preference pairs with an implicit prompt",
    ),
    "unpaired": (
        "kto",
        {"prompt": says(ASKED), "completion": says(WRONG), "label": False},
        "conversational unpaired preference",
    ),
    "unpaired, turns": (
        "kto",
        {"prompt": says(SYSTEM, *EARLIER), "completion": says(RIGHT), "label": True},
        "conversational unpaired preference",
    ),
    "unpaired, text": (
        "kto",
        {"prompt": "Which gas?", "completion": " oxygen", "label": True},
        "unpaired preference",
    ),
}


@pytest.fixture(params=[TEMPLATE, THINKING, DROPPING], ids=["plain", "thinking", "dropping"])
def chatting(request: pytest.FixtureRequest, tokenizer: Any) -> Iterator[Any]:
    """The tiny tokenizer with a chat template of each kind."""
    tokenizer.chat_template = request.param
    yield tokenizer
    tokenizer.chat_template = None


def by_trl(tokenizer: Any, trainer: str, record: dict[str, Any]) -> dict[bool, tuple[list[int], list[int]]]:
    """The prompt and completion of right and wrong answers, as TRL's trainer tokenizes a record.

    A trainer cannot be made without a model, so the function that prepares its data is called by itself.
    """
    from trl import DPOTrainer, SFTTrainer, maybe_extract_prompt
    from trl.trainer.kto_trainer import KTOTrainer

    own: Any = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss=True, calculate_KL=False)
    arguments: Any = SimpleNamespace(
        dataset_num_proc=None,
        dataset_text_field="text",
        assistant_only_loss=False,
        max_length=None,
        shuffle_dataset=False,
    )
    data: Any = Dataset.from_list([maybe_extract_prompt(record)])
    if trainer == "dpo":
        [row] = DPOTrainer._prepare_dataset(own, data, tokenizer, arguments, "train")
        return {True: (row["prompt_ids"], row["chosen_ids"]), False: (row["prompt_ids"], row["rejected_ids"])}
    if trainer == "kto":
        [row] = KTOTrainer._prepare_dataset(own, data, tokenizer, arguments, "train")
        return {record["label"]: (row["prompt_ids"], row["completion_ids"])}
    [row] = SFTTrainer._prepare_dataset(own, data, tokenizer, arguments, False, None, "train")
    masked = sum(label == -100 for label in row["labels"])
    return {True: (row["input_ids"][:masked], row["input_ids"][masked:])}


def written(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", FORMS)
def test_tokens_are_those_of_trl(name: str, chatting: Any, tmp_path: Path) -> None:
    trainer, record, form = FORMS[name]
    expected = by_trl(chatting, trainer, json.loads(json.dumps(record)))
    source = load(written(tmp_path / "train.jsonl", record))
    assert source.form == form and source.style == ("chat" if "convers" in form else "verbatim")
    base = tiny_base(chatting)
    heads = ["positive" if right else "negative" for right in expected]
    found = TrainingSet.of(base, heads, source, style="qa")
    for right, head in zip(expected, heads, strict=True):
        [pair] = found.pairs[head]
        prompt, completion = expected[right]
        if "messages" in record or "conversations" in record:
            # TRL trains on the whole conversation; likra on the last answer alone, of the same text.
            completion = (prompt + completion)[len(pair.context) :]
            prompt = (expected[right][0] + expected[right][1])[: len(pair.context)]
        assert list(pair.context) == prompt
        # TRL also trains on the end of the turn (or of the text), which likra neither trains nor scores.
        answer, rest = completion[: len(pair.completion)], completion[len(pair.completion) :]
        assert list(pair.completion) == answer
        assert chatting.decode(rest).strip() == "</s>"
    if source.questions:  # what is scored is what is trained
        [question] = source.questions["train"]
        pairs = Prompter(source.style).pairs(question)
        scored = encode_pairs(chatting, pairs[0][0], [completion for _, completion in pairs], 1000)
        assert [found.pairs[head][0] for head in heads] == scored


def test_text_parts_are_read_as_their_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Which "}, {"type": "text", "text": "gas?"}]
    record = {"messages": [{"role": "user", "content": parts}, *says(RIGHT)]}
    plain = load(written(tmp_path / "train.jsonl", FORMS["messages"][1]))
    assert load(written(tmp_path / "train.jsonl", record)).questions == plain.questions


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": []}, "field 'messages' has no messages"),
        ({"messages": "hello"}, "field 'messages' is str, not a list of messages"),
        ({"messages": ["hello"]}, "field 'messages[0]' is str, not a message"),
        ({"messages": says(ASKED)}, "field 'messages' ends in a message of the role 'user'; the last message must be"),
        ({"messages": says(RIGHT)}, "field 'messages': its last message is the only one"),
        ({"messages": says(SYSTEM, RIGHT)}, "its last message comes after one of the role 'system'"),
        ({"messages": says(("bot", "Hi"), RIGHT)}, "field 'messages[0]': its role is 'bot'; use one of system, user,"),
        ({"messages": says(ASKED, ("assistant", " "))}, "field 'messages[1]': its content is empty"),
        ({"messages": says(("user", ""), RIGHT)}, "field 'messages[0]': its content is empty"),
        ({"messages": [{"role": "user"}, *says(RIGHT)]}, "field 'messages[0]': its content is missing"),
        ({"messages": [{"role": "user", "content": 3}, *says(RIGHT)]}, "its content is int, not text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}, *says(RIGHT)]},
            "field 'messages[0]': its content has a part of the type 'image'; only text parts are read",
        ),
        (
            {"messages": says(ASKED, ("tool", "22 degrees"), RIGHT)},
            "field 'messages[1]' is a message of the role 'tool'; tools are not read",
        ),
        (
            {"messages": [*says(ASKED), {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]},
            "field 'messages[1].tool_calls' is a part of the message; tools are not read",
        ),
        ({"messages": says(ASKED, RIGHT), "tools": [{"name": "f"}]}, "field 'tools' belongs to the conversation"),
        ({"messages": says(ASKED, RIGHT), "system": "Be odd."}, "write it as the first message, of the role 'system'"),
        ({"prompt": says(ASKED), "completion": "oxygen"}, "field 'completion' is str, not a list of messages"),
        ({"prompt": "Which gas?", "completion": says(RIGHT)}, "field 'prompt' is str, not a list of messages"),
        (
            {"prompt": says(ASKED), "chosen": says(RIGHT), "rejected": "argon"},
            "field 'rejected' is str, not a list of messages",
        ),
        ({"prompt": says(ASKED), "completion": says(RIGHT), "label": "up"}, "field 'label' is 'up'"),
        ({"chosen": "blue", "rejected": "black sky"}, None),
        ({"chosen": "oxygen", "rejected": "argon"}, "'chosen' and 'rejected' begin with nothing in common"),
        ({"chosen": "It is", "rejected": "It is not"}, "one is the beginning of the other"),
        ({"question": "Q?", "chosen": "It is", "rejected": "It was"}, "field 'question' belongs to what is asked"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    record: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    path = written(tmp_path / "data.jsonl", record)
    if message is None:
        assert load(path).form == "preference pairs with an implicit prompt"
        return
    with pytest.raises(InputError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}, line 1: ") and message in text and "\n" not in text


def test_conversations_that_part_early_are_counted(tmp_path: Path) -> None:
    apart = {"chosen": says(*EARLIER, RIGHT), "rejected": says(("user", "Good day!"), *EARLIER[1:], WRONG)}
    source = load(written(tmp_path / "train.jsonl", FORMS["implicit"][1], apart))
    assert len(source.questions["train"]) == 1
    assert source.skipped == {"its two conversations part before their last turn": 1}


def talks(count: int) -> list[dict[str, Any]]:
    """Conversations that all end in the same question."""
    return [
        {
            "prompt": says(SYSTEM, ("user", f"I have {n} goats."), ("assistant", "Fine."), ("user", "Why?")),
            "chosen": says(("assistant", f"For the {n} cheeses.")),
            "rejected": says(("assistant", f"For {n} no reason.")),
        }
        for n in range(count)
    ]


def test_what_is_asked_is_the_whole_conversation(tmp_path: Path) -> None:
    first, other = load(written(tmp_path / "train.jsonl", *talks(2))).questions["train"]
    assert first.text == other.text == "Why?" and first.asked != other.asked and digest(first) != digest(other)
    asked = [first, other]
    [(context, _), *_] = Prompter("chat", 1, [other, first]).pairs(first)
    assert isinstance(context, Conversation)
    assert [role for role, _ in context.turns] == [SYSTEM[0], *["user", "assistant"] * 3, "user"]
    [(blind, _), *_] = control("blind", asked, Prompter("chat")).pairs(first)
    assert blind == Conversation((SYSTEM, ("user", "")))
    [(shuffled, _), *_] = control("shuffled", asked, Prompter("chat")).pairs(first)
    assert isinstance(shuffled, Conversation) and shuffled.turns[1] == ("user", "I have 1 goats.")
    with pytest.raises(InputError, match="the template 'qa' is not for this data, which is conversations"):
        load(str(tmp_path / "train.jsonl"), "qa")


def test_a_conversation_of_one_turn_takes_any_template(tmp_path: Path) -> None:
    source = load(written(tmp_path / "train.jsonl", FORMS["preference"][1]))
    assert Prompter("qa").pairs(restyled(source, "qa").questions["train"][0])[0] == (
        "Question: Which gas?\nAnswer:",
        " oxygen",
    )
    thumbs = load(written(tmp_path / "train.jsonl", FORMS["unpaired"][1]))
    assert restyled(thumbs, "qa").examples["train"][0].prompt == "Question: Which gas?\nAnswer:"
    assert restyled(thumbs, "chat").examples == thumbs.examples


def test_heads_keep_the_chat_template(tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer.chat_template = TEMPLATE
    base = tiny_base(tokenizer)
    base.model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    data = written(tmp_path / "train.jsonl", *talks(6))
    config = TrainingConfig(lora=lora_config(r=2), learning_rate=1e-2, per_device_train_batch_size=2)
    likra = Likra.from_base(str(tmp_path / "base"), training_config=config).fit(data, runtime=QUIET)
    likra.save_pretrained(tmp_path / "heads")
    asked = load(data).questions["train"][:2]
    expected = likra.likelihoods(asked).logprob_HQC
    tokenizer.chat_template = DROPPING
    tokenizer.save_pretrained(tmp_path / "base")
    loaded = Likra.from_pretrained(tmp_path / "heads")
    assert "learned another chat template" in caplog.text
    assert loaded.likelihoods(asked).logprob_HQC == pytest.approx(expected, abs=1e-4)
    tokenizer.chat_template = None


def test_thumbs_on_conversations_train_and_are_judged(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.chat_template = TEMPLATE
    rows = [
        {
            "prompt": says(SYSTEM, ("user", f"I have {n // 2} goats."), ("assistant", "Fine."), ("user", "Why?")),
            "completion": says(("assistant", f"For the {n} cheeses.")),
            "label": n % 2 == 0,
        }
        for n in range(12)
    ]
    source = load(rows)
    sides = [{example.asked for example in some} for some in source.examples.values()]
    assert sum(map(len, source.examples.values())) == 12 and sum(map(len, sides)) == len(set.union(*sides)) == 6
    config = TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=4)
    likra = Likra.from_base(tiny_base(tokenizer), training_config=config).fit(rows[:8], runtime=QUIET)
    judged = likra.evaluate([row | {"split": "test"} for row in rows[8:]], runtime=QUIET)
    assert likra.style == "chat" and judged.as_json()["records"] == 4
    tokenizer.chat_template = None


def test_the_state_of_other_questions_keeps_them_together() -> None:
    one, other = (Question(str(n), f"A ticket. {n}?", ("yes", "no"), 0, state="A ticket.") for n in range(2))
    assert one.asked == other.asked == "a ticket."
