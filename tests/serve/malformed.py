"""Requests as nobody should send them; the benchmark sends more of them than the tests do."""

import json
import random
from collections.abc import Iterator

PATHS = ("/v1/score", "/v1/systemone", "/v1/rerank", "/v2/rerank", "/rerank")
#: What is put in place of any value: raw JSON, some of which Python cannot hold or cannot write.
_VALUES = (
    *(
        "null",
        "true",
        "-1",
        "0",
        "1e400",
        "-1e-400",
        "NaN",
        "Infinity",
        "-Infinity",
        "1" + "0" * 5000,
        "0." + "0" * 5000,
    ),
    *(
        '""',
        '" "',
        r'"\ud800"',
        r'"\udc00 and more"',
        r'"\u0000"',
        '"' + "\u202e\u0301" * 50 + '"',
        '"' + "a" * 30_000 + '"',
    ),
    *("[]", "{}", "[[]]", '[{"text": null}]', '[{"text": "a", "text": 1}]', r'{"text": "\ud800"}', '[null, 1, "a"]'),
    *('["a", "a"]', '["a", ""]', '{"\\ud800": 1}', "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000),
    *("[" + ",".join(['"a"'] * 1500) + "]", "[" + ",".join(["1"] * 20_000) + "]", "1 2", "tru", "'a'", '"\n"', "\x00"),
)
_TYPES = (
    *("application/json", "application/json; charset=utf-16", "application/vnd.api+json", "text/plain", "", "a/b/c"),
    *("multipart/form-data", "application/x-www-form-urlencoded", "application/json; boundary=\xff", "json"),
)


def requests(count: int, seed: int = 0) -> Iterator[tuple[str, dict[str, bytes], bytes]]:
    """(path, headers, body) of `count` requests; a few are well-formed after all."""
    chance = random.Random(seed)
    for _ in range(count):
        path = chance.choice(PATHS)
        kind = chance.choice(_TYPES) if chance.random() < 0.2 else _TYPES[0]
        yield path, {"content-type": kind.encode("latin-1")}, _body(chance, path)


def _spoil(chance: random.Random, fields: dict[str, str]) -> None:
    """Leave out a field, add one, or put something else in its place."""
    match chance.randrange(6):
        case 0 if fields:
            del fields[chance.choice(list(fields))]
        case 1:
            fields[chance.choice(("extra", "\ud800", "", "__class__", "a" * 10_000))] = chance.choice(_VALUES)
        case _ if fields:
            fields[chance.choice(list(fields))] = chance.choice(_VALUES)


def _written(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


def _body(chance: random.Random, path: str) -> bytes:
    if chance.random() < 0.05:
        return chance.choice(
            (b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[", b"{" * 100_000, b"[" * 900_000, b" " * (2**20 + 1))
        )
    fields: dict[str, str] = {
        "question": '"Which?"',
        "choices": '["a b", "c"]',
        "weight": "1",
        "min_confidence": "null",
    }
    if path == "/v1/systemone":
        question = {"type": '"choice"', "instructions": '"Which?"', "criteria": '{"a": null, "b": "x"}'}
        for _ in range(chance.choice((0, 1, 2))):
            _spoil(chance, question)
        fields = {"state": '"A ticket."', "questions": '{"q": ' + _written(question) + "}", "model": '"m"'}
    elif path != "/v1/score":
        fields = {"query": '"Which?"', "documents": '["a b", {"text": "c"}]', "top_n": "1", "model": '"m"'}
        fields["return_documents"] = "true"
    for _ in range(chance.choice((1, 1, 2, 3) if path != "/v1/systemone" else (0, 0, 1, 1, 2))):
        _spoil(chance, fields)
    data = bytearray(_written(fields).encode(chance.choice(("utf-8",) * 12 + ("utf-16", "utf-32", "utf-7"))))
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    for _ in range(chance.choice((0, 0, 0, 1, 5)) if data else 0):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)
