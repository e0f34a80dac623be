"""The table on disk."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from likra.data import Prompter, Question
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE, Likelihoods
from tests.engine.test_engine import perturb


def test_a_saved_table_comes_back_bit_for_bit(base: Base, questions: list[Question], tmp_path: Path) -> None:
    stack = HeadStack(base, ["positive"], lora=lora_config(r=2))
    perturb(stack)
    some = [*questions, Question("open", "Which?", ("goat", "heron"), None)]
    table = score(base, stack, some, Prompter("qa"), (BASE, "positive"), meta={"base": "tiny"})
    table.save(tmp_path / "deep" / "table.parquet")
    again = Likelihoods.load(tmp_path / "deep" / "table.parquet")
    assert again.heads == table.heads and again.questions == table.questions
    assert again.meta == table.meta and table.meta["base"] == "tiny"
    for name in ("logprob_HQC", "tokens_QC", "cut_QC", "characters_QC", "bytes_QC", "answers_Q"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    # Other tools can read it: a row for each candidate.
    rows = parquet.read_table(tmp_path / "deep" / "table.parquet").to_pylist()
    assert len(rows) == sum(len(q.choices) for q in some)
    assert rows[1]["text"] == some[0].choices[1]
    assert rows[1]["logprob:positive"] == table.head("positive")[0, 1]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        Likelihoods.load(tmp_path / "none.parquet")
    (tmp_path / "odd.parquet").write_text("no")
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        Likelihoods.load(tmp_path / "odd.parquet")
    import pyarrow as pa

    parquet.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is not a table of likelihoods"):
        Likelihoods.load(tmp_path / "other.parquet")
