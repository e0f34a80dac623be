"""A client of the Hugging Face hub: whether it can be reached, fetching files of a repository, publishing them."""

import socket
import textwrap
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from likra.errors import InputError

_SECONDS = 5


def reachable() -> bool:
    """False if the hub's host, or the proxy on the way there, cannot be connected to. True in offline mode.

    Asked before the hub's libraries retry for a minute.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    address = urlsplit(constants.ENDPOINT)
    proxies = {} if proxy_bypass(address.hostname or "") else getproxies()
    if proxy := proxies.get(address.scheme) or proxies.get("all"):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        default = 1080 if address.scheme.startswith("socks") else 80 if proxy and address.scheme != "https" else 443
        port = address.port or default
        socket.create_connection((address.hostname or "", port), timeout=_SECONDS).close()
    except (OSError, ValueError):  # a port that is not a number
        return False
    return True


def is_id(name: str) -> bool:
    """Whether this can be the name of a repository: `owner/name`."""
    return may_be_id(name) and name.count("/") == 1


def may_be_id(name: str) -> bool:
    """Whether the hub may know a repository of this name: `owner/name`, or `name` alone as some old ones are called."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it is in the documentation

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def fetch(
    repository: str, patterns: Sequence[str], revision: str | None = None, token: str | None = None
) -> tuple[Path, str]:
    """Fetch some files of a model repository into the hub's cache; files fetched before need no network.

    Args:
        repository: `owner/name`.
        patterns: Names of files, with wildcards; no others are fetched.
        revision: Branch, tag or commit; default: the main branch.
        token: Access token; default: that of `hf auth login`, or $HF_TOKEN.

    Returns:
        Their folder, and their commit.

    Raises:
        InputError: There is no such repository or revision, it may not be read, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(patterns),
                token=token,
                local_files_only=not reachable(),
            )
        )
    except Exception as error:  # huggingface_hub, httpx and the file system share no base class for these
        if isinstance(error, MemoryError):
            raise
        raise InputError(_failure(repository, revision, error)) from None
    return folder, folder.name


def publish(
    folder: Path,
    repository: str,
    files: Sequence[str],
    patterns: Sequence[str],
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Send some files of a folder to a model repository. Makes the repository if there is none.

    In one commit, so that no reader finds a file of these adapters beside one of others.

    Args:
        folder: The folder.
        repository: `owner/name`.
        files: Names of the files to send.
        patterns: Files of these names that are in the repository and are not sent are removed, in the same commit.
        private: Whether a new repository is private; default: as its owner has set it.
        token: Access token; default: that of `hf auth login`, or $HF_TOKEN.
        revision: Branch to commit to, made if there is none; default: the main branch.
        message: The commit's.
        create_pr: Open a pull request instead.

    Returns:
        The commit's address, or the pull request's.

    Raises:
            InputError: No repository can have this name, the hub cannot be reached, or it refuses to write there.
    """
    if not is_id(repository):
        raise InputError(f"{repository}: is not the name of a repository; give owner/name.")
    if create_pr and revision is not None:
        raise InputError(
            f"revision must be left out of a pull request, which is for the main branch, got {revision!r}."
        )
    if not reachable():
        raise InputError(f"{repository}: the Hugging Face hub cannot be reached; check the network.")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        there = api.list_repo_files(repository, revision=revision)
        stale = sorted(name for name in there if name not in files and any(fnmatch(name, like) for like in patterns))
        commit = api.create_commit(
            repository,
            [
                *(CommitOperationAdd(name, folder / name) for name in files),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message or "Upload heads with likra",
            revision=revision,
            create_pr=create_pr,
        )
    except Exception as error:  # as above
        if isinstance(error, MemoryError):
            raise
        raise InputError(_failure(repository, revision, error, writing=True)) from None
    return str(commit.pr_url or commit.commit_url)


def _failure(repository: str, revision: str | None, error: Exception, *, writing: bool = False) -> str:
    from huggingface_hub import constants, errors

    address = f"{constants.ENDPOINT}/{repository}"
    at = f" at revision {revision}" if revision else ""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repository}: HF_HUB_OFFLINE is set; unset it to reach the Hugging Face hub."
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repository}: is gated; ask for access at {address}, then log in with `hf auth login`, or set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository}: has no branch, tag or commit {revision}; {address}/tree/main lists them."
    if isinstance(error, errors.RepositoryNotFoundError) and not writing:
        return (
            f"{repository}: there is no such repository, or a private one; check the name, or log in with "
            "`hf auth login`, or set HF_TOKEN."
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            f"{repository}{at}: the Hugging Face hub cannot be reached, and these files were not fetched before. "
            "Check the network, or give a local folder."
        )
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401:
        return f"{repository}: needs you to log in: `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return f"{repository}: your token may not {'write to' if writing else 'read'} it; give one that may."
    reason = textwrap.shorten(str(error), 160)
    return f"{repository}{at}: {type(error).__name__}: {reason}. Check the name and the network."
