"""Two processes against one: the same heads, the same table."""

import os
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from likra.data import Question
from likra.scoring.likelihoods import Likelihoods
from tests.conftest import Run, write_questions

#: Sums over a batch are taken in another order, and where a gradient is nothing but rounding, Adam makes a step of it:
#: a tenth of one step, as in tests/training/test_training.py.
WEIGHTS, LIKELIHOODS = 1e-4, 1e-4

# Without --cpu, which would want MPI; where there is no GPU the processes find that out themselves, and use gloo.
ACCELERATE = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "LIKRA_CACHE": str(cache)}


def test_two_processes_give_what_one_gives(
    run: Run, model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    """Trained under the one launcher, judged under the other."""
    data = str(write_questions(tmp_path / "data.jsonl", questions))
    results = {}
    for name, training, judging in (("one", *[[sys.executable]] * 2), ("two", ACCELERATE, TORCHRUN)):
        out = tmp_path / name
        trained = run(
            [*training, "-m", "likra", "train", str(model_folder), "--data", data, "--out", str(out), "--lr", "1e-3",
             "--batch-size", "3", "--grad-accum", "2", "--rank", "4", "--activation", "completion"],
            env=environment(tmp_path / "cache" / name),
        )  # fmt: skip
        assert trained.returncode == 0, trained.stderr
        assert trained.stdout.count("Heads are in") == 1
        table = tmp_path / f"{name}.parquet"
        judged = run(
            [*judging, "-m", "likra", "eval", str(tmp_path / "one"), "--data", data, "--split", "all",
             "--save-likelihoods", str(table)],
            env=environment(tmp_path / "cache" / name),
        )  # fmt: skip
        assert judged.returncode == 0, judged.stderr
        assert judged.stdout.count("Likra against SFT") == 1
        heads = [load_file(out / side / "adapter_model.safetensors") for side in ("positive", "negative")]
        results[name] = heads, Likelihoods.load(table), judged.stdout
    for one, two in zip(results["one"][0], results["two"][0], strict=True):
        assert max(float((one[key] - two[key]).abs().max()) for key in one) < WEIGHTS
        assert any(two[key].any() for key in two if "lora_B" in key)
    np.testing.assert_allclose(results["one"][1].logprob_HQC, results["two"][1].logprob_HQC, atol=LIKELIHOODS)
    assert results["one"][2] == results["two"][2]


def test_bad_input_ends_every_process(run: Run, tmp_path: Path) -> None:
    command = [*TORCHRUN, "-m", "likra", "eval", str(tmp_path / "nothing"), "--data", "world"]
    found = run(command, env=environment(tmp_path))
    assert found.returncode != 0
    assert "likra: error:" in found.stderr and "no such folder" in found.stderr
