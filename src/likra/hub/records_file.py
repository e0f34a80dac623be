"""The file `records.jsonl` beside adapters: the records that they learned, where a user let likra keep them."""

import json
from pathlib import Path
from typing import Any

from likra.data.conversation import Conversation
from likra.data.question import Example, Question
from likra.data.records import Item, Records
from likra.errors import InputError
from likra.utils.files import new_file
from likra.utils.locations import RECORDS

_TRAIN, _HELD_OUT = "train", "test"


def write_records(records: Records, folder: Path) -> None:
    """Write records into a folder of adapters: one JSON object a line, in likra's own form or as prompt and completion.

    `split` says whether a record was learned (`train`) or held out (`test`), `round` when: 0 in the first training, 1
    in the first teaching, and so on.
    """
    rows = [(_TRAIN, number, item) for number, some in enumerate(records.rounds) for item in some]
    rows += [(_HELD_OUT, 0, item) for item in records.held_out]
    with new_file(folder / RECORDS) as work, work.open("w", encoding="utf-8") as file:
        for split, number, item in rows:
            line = _fields(item) | {"split": split} | ({"round": number} if number else {})
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_records(folder: Path) -> Records | None:
    """What `write_records` wrote; None where there is no such file.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / RECORDS
    if not path.is_file():
        return None
    rounds: list[list[Item]] = [[]]
    held_out: list[Item] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                place, split = int(record.get("round", 0)), record["split"]
                if split not in (_TRAIN, _HELD_OUT) or not 0 <= place <= len(rounds):
                    raise ValueError(f"split {split!r}, round {place}")
                if place == len(rounds):
                    rounds.append([])
                (held_out if split == _HELD_OUT else rounds[place]).append(_item(record))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{path}, line {number}: is damaged ({type(error).__name__}: {error}); copy the file again, or "
                    "remove it to do without the records."
                ) from None
    return Records(tuple(map(tuple, rounds)), tuple(held_out))


def _fields(item: Item) -> dict[str, Any]:
    if isinstance(item, Example):
        prompt = item.prompt.messages if isinstance(item.prompt, Conversation) else item.prompt
        asked = {} if item.question is None else {"question": item.question}
        return {"prompt": prompt, "completion": item.completion, "label": item.right, **asked}
    more: dict[str, Any] = {"group": item.group, "state": item.state, "before": [*map(list, item.before)]}
    return {
        "id": item.id,
        "question": item.text,
        "choices": list(item.choices),
        "answer": item.answer,
        **{name: value for name, value in more.items() if value},
    }


def _item(record: dict[str, Any]) -> Item:
    if "completion" in record:
        prompt = record["prompt"]
        if not isinstance(prompt, str):
            prompt = Conversation(tuple((str(turn["role"]), str(turn["content"])) for turn in prompt))
        return Example(prompt, str(record["completion"]), bool(record["label"]), record.get("question"))
    choices, answer = tuple(map(str, record["choices"])), int(record["answer"])
    if not 0 <= answer < len(choices):
        raise ValueError(f"answer {answer}")
    return Question(
        str(record["id"]),
        str(record["question"]),
        choices,
        answer,
        group=record.get("group"),
        before=tuple((str(role), str(text)) for role, text in record.get("before", ())),
        state=str(record.get("state", "")),
    )
