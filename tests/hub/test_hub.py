"""Heads on the hub: fetched, pinned, checked and published, without a network."""

import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import typer
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, ModelCard, constants
from typer.testing import CliRunner

from likra import InputError, Likra, Question, TrainingConfig
from likra.cli.app import app
from likra.cli.push import push
from likra.models import base as models
from likra.models.lora_config import lora_config
from likra.utils.hub_client import is_id
from likra.utils.runtime import QUIET

REPOSITORY = "someone/animal-heads"
OWN = [
    "README.md",
    "likra.json",
    "losses.jsonl",
    "negative/adapter_config.json",
    "negative/adapter_model.safetensors",
    "positive/adapter_config.json",
    "positive/adapter_model.safetensors",
]


def commit_of(number: int) -> str:
    return f"{number:040x}"


@pytest.fixture(scope="module")
def versions(model_folder: Path, questions: list[Question], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of some heads, as `save_pretrained` writes them."""
    folders = []
    for seed in (0, 1):
        config = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4, seed=seed)
        trained = Likra.from_base(str(model_folder), training_config=config).fit(questions, runtime=QUIET)
        folders.append(tmp_path_factory.mktemp("versions") / "heads")
        trained.save_pretrained(folders[-1])
    return folders


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's, and no way to the hub itself."""
    monkeypatch.setenv("LIKRA_CACHE", str(tmp_path / "likra-cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "hub"


def put(cache: Path, heads: Path, commit: str, *refs: str) -> Path:
    """Lay a folder out as the hub's cache does; returns the snapshot."""
    repository = cache / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for file in (path for path in heads.rglob("*") if path.is_file()):
        blob = repository / "blobs" / sha256(file.read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, blob)
        link = snapshot / file.relative_to(heads)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    for ref in refs:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    return snapshot


def test_every_revision_loads_its_own_heads(cache: Path, versions: list[Path], questions: list[Question]) -> None:
    put(cache, versions[0], commit_of(1), "v1")
    put(cache, versions[1], commit_of(2), "main")
    saved = [Likra.from_pretrained(folder) for folder in versions]
    wanted = [each.likelihoods(questions).logprob_HQC for each in saved]
    assert saved[0].revision is None and not np.array_equal(wanted[0], wanted[1], equal_nan=True)
    for revision, version in ((None, 1), ("main", 1), ("v1", 0), (commit_of(1), 0), (commit_of(2), 1)):
        loaded = Likra.from_pretrained(REPOSITORY, revision=revision)
        np.testing.assert_array_equal(loaded.likelihoods(questions).logprob_HQC, wanted[version])
        assert loaded.revision == commit_of(version + 1)
    # New heads have no commit yet.
    assert loaded.fit(questions[:4], runtime=QUIET).revision is None


def test_the_base_keeps_its_own_revision(
    cache: Path, versions: list[Path], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`revision` is that of the heads; the base comes at the commit that they were trained on, or at another one."""
    manifest = json.loads((versions[0] / "likra.json").read_text())
    changed = {**manifest, "base": {**manifest["base"], "revision": commit_of(5)}}
    snapshot = put(cache, versions[0], commit_of(1), "v1")
    (snapshot / "likra.json").unlink()
    (snapshot / "likra.json").write_text(json.dumps(changed))
    asked = []

    def load_base(name: str, *, revision: str | None = None, **more: Any) -> Any:
        asked.append((name, revision))
        return real(name, **more)

    real = models.load_base
    monkeypatch.setattr(models, "load_base", load_base)
    other = str(model_folder.parent / "." / model_folder.name)
    command = ["score", REPOSITORY, "--revision", "v1", "--question", "Which?", "--choice", "goat", "--json"]
    for more in ([], ["--base-revision", "v9"], ["--base", other], ["--base", other, "--base-revision", "v9"]):
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code == 0, result.output
    assert asked == [(str(model_folder), commit_of(5)), (str(model_folder), "v9"), (other, None), (other, "v9")]


def test_a_base_that_has_moved_is_asked_for(versions: list[Path], tmp_path: Path) -> None:
    shutil.copytree(versions[0], tmp_path / "heads")
    path = tmp_path / "heads" / "likra.json"
    path.write_text(path.read_text().replace('"name": "/', '"name": "/gone/'))
    with pytest.raises(InputError, match=r"^/gone/.* no such folder.*if it has moved, give model \(--base\)\.$"):
        Likra.from_pretrained(tmp_path / "heads")


def test_a_folder_wins_over_the_hub(
    cache: Path, versions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, versions[0], commit_of(1), "main")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(versions[1], tmp_path / REPOSITORY)
    loaded = Likra.from_pretrained(REPOSITORY)
    assert loaded.revision is None and loaded.training_config.seed == 1
    with pytest.raises(InputError, match="revision must be left out where the adapters are in a folder"):
        Likra.from_pretrained(REPOSITORY, revision="main")


@pytest.mark.parametrize("file", ["losses.jsonl", "positive/adapter_model.safetensors"])
def test_a_file_that_was_changed_on_the_hub_is_refused(file: str, cache: Path, versions: list[Path]) -> None:
    path = put(cache, versions[0], commit_of(1), "main") / file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=f"{file}: is not the file that was saved"):
        Likra.from_pretrained(REPOSITORY)


@pytest.mark.parametrize("name", ["../../outside", "/etc", "negative/../../outside", "..\\outside", "C:\\outside"])
@pytest.mark.parametrize("field", ["heads", "files"])
def test_a_manifest_cannot_name_files_outside_its_folder(
    field: str, name: str, cache: Path, versions: list[Path]
) -> None:
    snapshot = put(cache, versions[0], commit_of(1), "main")
    # What it names is there, with the right digest: only the place is wrong.
    outside = snapshot.parent.parent / "outside"
    shutil.copytree(versions[0] / "positive", outside)
    manifest = json.loads((snapshot / "likra.json").read_text())
    if field == "heads":
        manifest["heads"]["positive"] = name
        for file in outside.iterdir():
            manifest["files"][f"{name}/{file.name}"] = sha256(file.read_bytes()).hexdigest()
    else:
        manifest["files"][f"{name}/adapter_config.json"] = manifest["files"]["positive/adapter_config.json"]
    (snapshot / "likra.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"likra.json: names a file outside its folder \((.*outside|/etc)"):
        Likra.from_pretrained(REPOSITORY)


def test_heads_have_two_names(versions: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "heads"
    shutil.copytree(versions[0], folder)
    manifest = json.loads((folder / "likra.json").read_text())
    manifest["heads"] = {"base": "positive"}
    (folder / "likra.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"likra.json: is damaged \(ValueError: its heads are base\)"):
        Likra.from_pretrained(folder)


def test_what_can_be_a_repository() -> None:
    assert is_id("someone/heads") and is_id("a.b/c-d_e.f")
    for name in ("heads", "/tmp/heads", "./heads", "../heads", "a/b/c", "~/heads", "a b/c", "a/b..c", "", "a/"):
        assert not is_id(name), name


# A hub of our own, on this machine: what the client asks it for is what is fetched.


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's HTTP interface as `snapshot_download` uses."""

    files: dict[str, bytes]
    answers: dict[str, tuple[int, str]]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        api, files = f"/api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/{commit_of(7)}/"
        for start, (status, code) in self.answers.items():
            if path.startswith(start):
                return self._send(status, b"{}", {"X-Error-Code": code}, body)
        if path in (api, f"{api}/revision/main"):
            return self._send(
                200, json.dumps({"id": REPOSITORY, "sha": commit_of(7), "siblings": []}).encode(), {}, body
            )
        if path == f"{api}/tree/{commit_of(7)}":
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": sha256(content).hexdigest()[:40]}
                for name, content in self.files.items()
            ]
            return self._send(200, json.dumps(tree).encode(), {}, body)
        content = self.files.get(path.removeprefix(files))
        if content is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)
        if body:
            self.asked.append(path.removeprefix(files))
        tag = {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": commit_of(7)}
        return self._send(200, content, tag, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OwnHub", (Hub,), {"files": {}, "answers": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    handler.stop = lambda: (server.shutdown(), server.server_close())  # type: ignore[attr-defined]
    yield handler
    handler.stop()  # type: ignore[attr-defined]


def test_nothing_but_heads_is_fetched_and_once_fetched_needs_no_network(
    hub: Any, cache: Path, versions: list[Path], questions: list[Question]
) -> None:
    hub.files = {path.relative_to(versions[0]).as_posix(): path.read_bytes() for path in versions[0].rglob("*.*")}
    hub.files |= {
        "positive/adapter_model.bin": b"pickle",
        "likra.py": b"raise SystemExit",
        "model.safetensors": b"",
        "config.json": b"{}",
        "optimizer.pt": b"pickle",
    }
    loaded = Likra.from_pretrained(REPOSITORY)
    assert loaded.revision == commit_of(7)
    [snapshot] = cache.glob("*/snapshots/*")
    assert sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*.*")) == OWN
    assert set(hub.asked) <= set(OWN)  # equal files are asked for once
    wanted = Likra.from_pretrained(versions[0]).likelihoods(questions).logprob_HQC
    np.testing.assert_array_equal(loaded.likelihoods(questions).logprob_HQC, wanted)
    hub.stop()
    assert Likra.from_pretrained(REPOSITORY).revision == commit_of(7)
    assert Likra.from_pretrained(REPOSITORY, revision=commit_of(7)).revision == commit_of(7)
    with pytest.raises(InputError, match="at revision v2: the Hugging Face hub cannot be reached, and these files"):
        Likra.from_pretrained(REPOSITORY, revision="v2")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"/": (404, "RepoNotFound")}, "there is no such repository, or a private one; check the name, or log in"),
        ({"/": (401, "")}, "there is no such repository, or a private one|needs you to log in"),
        ({"/": (403, "GatedRepo")}, "is gated; ask for access at http://.*/someone/animal-heads, then log in"),
        ({f"/api/models/{REPOSITORY}/revision": (404, "RevisionNotFound")}, "has no branch, tag or commit v3"),
        ({f"/api/models/{REPOSITORY}/revision": (503, "")}, "cannot be reached, and these files were not fetched"),
        ({}, "this repository holds no heads"),
    ],
)
def test_what_the_hub_refuses_is_one_line(answers: dict[str, Any], message: str, hub: Any) -> None:
    hub.answers, hub.files = answers, {"config.json": b"{}"}
    revision = "v3" if "v3" in message else None
    with pytest.raises(InputError, match=message) as caught:
        Likra.from_pretrained(REPOSITORY, revision=revision)
    assert str(caught.value).startswith(REPOSITORY) and "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(
    cache: Path, versions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(versions[0], tmp_path / "runs" / "animals")
    with pytest.raises(InputError, match=r"^runs/animal: .* \(Nor is there .* did you mean runs/animals\?\)"):
        Likra.from_pretrained("runs/animal")
    with pytest.raises(InputError, match=r"^animal: no such folder; `likra train` writes one\.$"):
        Likra.from_pretrained("animal")
    with pytest.raises(InputError, match="no such folder; `likra train` writes one; did you mean"):
        Likra.from_pretrained(tmp_path / "runs" / "animal")


# Publishing. `HfApi` is cut off from the network where it would send a commit; what it was to send is looked at.


@pytest.fixture
def sent(hub: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reaches the hub: the repositories and branches asked for, and the last commit's operations."""
    said: dict[str, Any] = {"there": []}

    def commit(self: HfApi, repo_id: str, operations: list[Any], **more: Any) -> CommitInfo:
        said["added"] = {
            one.path_in_repo: Path(one.path_or_fileobj).read_bytes()
            for one in operations
            if isinstance(one, CommitOperationAdd)
        }
        said["removed"] = [one.path_in_repo for one in operations if not isinstance(one, CommitOperationAdd)]
        said["commit"] = {"token": self.token, "repository": repo_id, **more}
        request = f"{constants.ENDPOINT}/{repo_id}/discussions/3" if more["create_pr"] else None
        address = f"{constants.ENDPOINT}/{repo_id}/commit/{commit_of(8)}"
        return CommitInfo(address, more["commit_message"], "", commit_of(8), pr_url=request)

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **more: said.update(made=(repo_id, more)))
    monkeypatch.setattr(HfApi, "create_branch", lambda self, repo_id, **more: said.update(branch=(repo_id, more)))
    monkeypatch.setattr(HfApi, "list_repo_files", lambda self, repo_id, revision: said["there"])
    monkeypatch.setattr(HfApi, "create_commit", commit)
    return said


def test_push_to_hub_sends_the_heads_and_a_card(
    sent: dict[str, Any],
    cache: Path,
    versions: list[Path],
    tmp_path: Path,
    questions: list[Question],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = Likra.from_pretrained(versions[0])
    before = loaded.likelihoods(questions).logprob_HQC
    sent["there"] = ["README.md", ".gitattributes", "calibration.json", "my-notes.txt", "old/adapter_model.safetensors"]
    address = loaded.push_to_hub(REPOSITORY, private=True, token="hf_x", revision="v2", commit_message="Again")
    assert address.endswith(f"/{REPOSITORY}/commit/{commit_of(8)}")
    assert sorted(sent["added"]) == OWN
    # What was known of the heads that were there before is not true of these; what is not likra's is left alone.
    assert sent["removed"] == ["calibration.json", "old/adapter_model.safetensors"]
    assert sent["made"] == (REPOSITORY, {"private": True, "exist_ok": True})
    assert sent["branch"] == (REPOSITORY, {"branch": "v2", "exist_ok": True})
    assert (sent["commit"]["token"], sent["commit"]["commit_message"], sent["commit"]["revision"]) == (
        "hf_x",
        "Again",
        "v2",
    )
    # It comes back as it went.
    for name, content in sent["added"].items():
        (tmp_path / "sent" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sent" / name).write_bytes(content)
    put(cache, tmp_path / "sent", commit_of(8), "v2")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = Likra.from_pretrained(REPOSITORY, revision="v2")
    np.testing.assert_array_equal(again.likelihoods(questions).logprob_HQC, before)
    assert f'Likra.from_pretrained("{REPOSITORY}")' in sent["added"]["README.md"].decode()


@pytest.fixture
def run() -> Callable[..., Any]:
    alone = typer.Typer()
    alone.command()(push)
    return lambda *arguments: CliRunner().invoke(alone, [str(argument) for argument in arguments])


def test_the_command_sends_what_belongs_to_the_heads_and_no_stray_file(
    sent: dict[str, Any], run: Callable[..., Any], versions: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "heads"
    shutil.copytree(versions[0], folder)
    (folder / "thesis.txt").write_text("mine")
    (folder / "positive" / "adapter_model.bin").write_bytes(b"pickle")
    (folder / "checkpoint").mkdir()
    shutil.copyfile(folder / "positive/adapter_model.safetensors", folder / "checkpoint/adapter_model.safetensors")
    result = run(folder, REPOSITORY, "--create-pr")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith(f"/{REPOSITORY}/discussions/3")
    assert "is a folder here; who loads them needs a copy of it" in result.stderr
    assert sorted(sent["added"]) == OWN and "branch" not in sent
    assert sent["made"] == (REPOSITORY, {"private": None, "exist_ok": True})
    card = ModelCard(sent["added"]["README.md"].decode())
    assert f'heads = snapshot_download("{REPOSITORY}"' in card.text and str(tmp_path) not in card.content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["heads"], "heads: is not the name of a repository; give owner/name"),
        (
            [REPOSITORY, "--create-pr", "--revision", "v2"],
            "must be left out of a pull request, which is for the main branch, got 'v2'",
        ),
    ],
)
def test_names_that_cannot_be_pushed_to(
    arguments: list[str], message: str, sent: dict[str, Any], run: Callable[..., Any], versions: list[Path]
) -> None:
    error = run(versions[0], *arguments).exception
    assert isinstance(error, InputError) and message in str(error) and "added" not in sent


@pytest.mark.parametrize(
    ("status", "message"), [(401, "needs you to log in: `hf auth login`"), (403, "your token may not write to it")]
)
def test_a_push_that_the_hub_refuses(
    status: int, message: str, hub: Any, run: Callable[..., Any], versions: list[Path]
) -> None:
    hub.do_POST = lambda self: self._send(status, b"{}", {}, True)
    hub.answers = {"/": (status, "")}
    error = run(versions[0], REPOSITORY).exception
    assert isinstance(error, InputError) and message in str(error)
    hub.stop()
    error = run(versions[0], REPOSITORY).exception
    assert isinstance(error, InputError) and "the Hugging Face hub cannot be reached" in str(error)


def test_a_proxy_that_is_not_there_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of the network: nothing listens at a port that was just given back."""
    import socket

    from huggingface_hub import constants

    from likra.utils.hub_client import reachable

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for proxy in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", "http://127.0.0.1:99999"):
            monkeypatch.setenv("https_proxy", proxy)
            assert not reachable()  # bound, but it does not listen
        taken.listen()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert reachable()
