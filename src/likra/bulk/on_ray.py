"""Scoring a file on a Ray cluster, through Ray Data: one reader of the data, and a worker for each GPU or CPU."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.bulk.formats import format_of
from likra.bulk.parts import Part, cut
from likra.bulk.run import Reader
from likra.data.asking import Asked
from likra.errors import InputError
from likra.scoring.config import Scoring
from likra.utils.ray_cluster import RETRIES, connected, one_of

if TYPE_CHECKING:
    from likra.bulk.here import Scorer


@dataclass(frozen=True)
class Heads:
    """Saved adapters, and how each worker loads and asks them.

    Attributes:
        folder: Where they are, on every machine of the cluster.
        loading: Keyword arguments of `Likra.from_pretrained`.
        scoring: How candidates are scored.
        memory: Bytes that reading may take beside the model.
    """

    folder: Path
    loading: Mapping[str, Any]
    scoring: Scoring
    memory: int | None = None


def _work_in(folder: Path) -> None:
    """Take a relative name for what it is where the run was started, on machines that have the same folder."""
    with contextlib.suppress(OSError):
        os.chdir(folder)


def reader(asked: Asked, out: Path, heads: Heads, address: str) -> Reader:
    """Scores parts on a cluster. A part whose worker dies is scored again by another.

    The data is read by one task, as a stream; its parts go to the workers, and what they make of them comes back here.
    So the machines need no shared disk, but each must find the data, the adapters and their base under the same names.

    Args:
        asked: The questions of a source that has a name.
        out: The file that is written.
        heads: The adapters.
        address: As `likra.utils.ray_cluster.connected` takes it.
    """

    def read(names: Collection[str], progress: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
        with connected(address) as ray, _quiet():
            resources, most = one_of(ray)
            parts = ray.data.read_datasource(_source(asked, names, Path.cwd()), override_num_blocks=1, num_cpus=0)
            scored = parts.map_batches(
                _Worker,
                fn_constructor_args=(heads, asked.style, out.suffix, Path.cwd()),
                batch_size=1,
                concurrency=min(most, len(names)),
                max_restarts=RETRIES,
                max_task_retries=RETRIES,
                **resources,
            )
            try:
                # None is fetched before it is asked for: what a worker has finished is kept at once.
                for block in scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    for row in block.to_pylist():
                        if row["refused"]:
                            raise InputError(row["refused"])
                        yield row["name"], row["content"]
            except ray.exceptions.RayError as failure:
                reason = str(getattr(failure, "cause", None) or failure).strip().splitlines()[0]
                raise InputError(f"--ray {address}: the run failed there ({reason}).") from failure

    return read


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data without progress of its own, with each part as a piece of work that may take as long as it takes."""
    import ray.data

    context: Any = ray.data.DataContext.get_current()
    ours: dict[str, Any] = {"enable_progress_bars": False, "target_max_block_size": 1, "target_min_block_size": 1}
    ours |= {"execution_no_progress_timeout_s": -1, "max_consecutive_actor_init_deaths": RETRIES}
    before = {name: getattr(context, name) for name in ours if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)  # what ends the run is said here
        for name in before:
            setattr(context, name, ours[name])
        with warnings.catch_warnings():
            # Of 2.60: it has no other way yet to say how often an actor is started again.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


def _source(asked: Asked, names: Collection[str], folder: Path) -> Any:
    """Ray's reader of the parts of these names: one task, which gives each as a row."""
    import pyarrow as pa
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def read() -> Iterator[Any]:
        _work_in(folder)
        for part in cut(asked):
            if part.name in names:
                yield pa.table({"part": [part.as_json()]})

    class Parts(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            unknown: dict[str, Any] = {"num_rows": None, "size_bytes": None, "input_files": None, "exec_stats": None}
            return [ReadTask(read, BlockMetadata(**unknown))]

    make: Any = Parts
    return make()


class _Worker:
    """Scores parts on a machine of the cluster."""

    def __init__(self, heads: Heads, style: str, suffix: str, folder: Path) -> None:
        self._heads, self._style, self._format = heads, style, format_of(Path(f"scores{suffix}"))
        self._folder = folder

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """A row with the one part of the batch as a file, or with what is wrong with it."""
        [text] = batch["part"]
        part = Part.from_json(str(text))
        content, refused = b"", ""
        try:
            content = self._format.encode(self._scorer.rows(part))
        except InputError as error:  # given rather than raised, for Ray would try again
            refused = str(error)
        return {"name": [part.name], "content": [content], "refused": [refused]}

    @cached_property
    def _scorer(self) -> "Scorer":
        import torch

        from likra.bulk.here import Scorer
        from likra.likra import Likra

        _work_in(self._folder)
        if not torch.cuda.is_available():
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        likra = Likra.from_pretrained(self._heads.folder, **self._heads.loading)
        return Scorer(likra, self._style, self._heads.scoring, self._heads.memory)
