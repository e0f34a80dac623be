"""Jobs on an existing Ray cluster: handed out as tasks, tried again when a worker dies."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from likra.errors import InputError
from likra.lab.runner.jobs import Job, Store, run_job
from likra.utils.progress import progress_bar
from likra.utils.ray_cluster import RETRIES, connected, one_of


def run_on_ray(jobs: Iterable[Job], store: Store, address: str, *, shown: bool = True) -> int:
    """Do the jobs that are not finished as Ray tasks and keep their results here; returns how many those were.

    Each task takes one GPU where the cluster has any, else one CPU. Workers must find the models and the data under the
    same names as here; results travel through Ray, so that no disk need be shared.

    Args:
        jobs: The jobs.
        store: Where their results are kept.
        address: As `ray.init` takes it: `auto`, `host:port`, `ray://host:port`, `local`.
        shown: Whether to show progress.

    Raises:
        InputError: Ray is missing, the cluster cannot be reached, or a job cannot be done as it is set.
    """
    waiting, total = store.waiting(jobs)
    if waiting:
        finished = total - len(waiting)
        with progress_bar("Jobs", "jobs", shown=shown) as move:
            _run_all(waiting, store, address, lambda done, note: move(finished + done, total, note))
    return len(waiting)


def _run_all(jobs: Sequence[Job], store: Store, address: str, progress: Callable[[int, str], None]) -> None:
    with connected(address) as ray:
        resources, _ = one_of(ray)
        # A job is named by its key, so a task can be repeated without harm.
        task = ray.remote(max_retries=RETRIES, **resources)(_run)
        waiting = {task.remote(job.work, job.settings): job for job in jobs}
        done = 0
        progress(0, "")
        try:
            while waiting:
                [ready], _ = ray.wait(list(waiting), num_returns=1)
                job = waiting.pop(ready)
                refused, files = ray.get(ready)
                if refused is not None:
                    raise InputError(f"{job.label}: {refused}")
                # A folder of its own: it must not mix with what a local run has left unfinished.
                work = Path(tempfile.mkdtemp(prefix=f".{job.key}-", dir=store.folder))
                for name, content in files.items():
                    path = work / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                store.finish(job, work)
                done += 1
                progress(done, f"({job.label})")
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.RaySystemError,
        ) as failure:
            reason = str(failure).strip().splitlines()[0]
            raise InputError(f"--ray {address}: a job was lost {RETRIES + 1} times ({reason}).") from None
        finally:
            for left in waiting:
                ray.cancel(left, force=True)


def _run(work: str, settings: str) -> tuple[str | None, dict[str, bytes]]:
    """On a worker: run a job in a folder of its own; returns what was wrong with it, or its files."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    job = Job(work, settings)
    with tempfile.TemporaryDirectory(prefix="likra-") as folder:
        try:
            run_job(job, Path(folder), lambda done, total, note="": None)
        except InputError as error:
            return str(error), {}
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return None, {str(path.relative_to(folder)): path.read_bytes() for path in paths}
