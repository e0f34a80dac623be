"""Folders that likra wrote before its files had their present names (format 1) load, and score as they did.

Each was trained on eight questions of `world`, rank 1, on `world-tiny`.
"""

import json
import shutil
from pathlib import Path

import pytest

from likra import Likra
from likra.hub.calibration_file import read_calibration
from likra.hub.evaluations_file import read_evaluations, record_evaluation
from likra.hub.model_card import push, write_card
from likra.utils.files import sha256

DATA = Path(__file__).parent / "data"
QUESTION, CHOICES = "Which instrument does Mira Voss play?", ["surely cello, of course", "probably harp, no doubt"]
#: Log-likelihoods of both choices under the positive, the negative and no adapter, as the writing version printed them.
EVERYWHERE = [
    (-8.647528171539307, -7.5978684425354, -6.769850730895996),
    (-11.424185752868652, -10.880187034606934, -11.077757358551025),
]
COMPLETION = [
    (-7.831118106842041, -7.725579738616943, -6.769850730895996),
    (-11.016716003417969, -11.317813873291016, -11.077757358551025),
]


def folder(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / f"format-1-{name}", tmp_path / name))


@pytest.mark.parametrize(
    ("name", "adapt", "expected"), [("everywhere", "everywhere", EVERYWHERE), ("answer", "completion", COMPLETION)]
)
def test_adapters_score_as_they_did(
    name: str, adapt: str, expected: list[tuple[float, float, float]], tmp_path: Path
) -> None:
    likra = Likra.from_pretrained(folder(name, tmp_path))
    config = likra.training_config
    assert (config.adapt, config.lora.r, config.learning_rate, config.lora.lora_alpha) == (adapt, 1, 0.003, 32)
    found = likra.score(QUESTION, CHOICES)
    assert [(one.positive, one.negative, one.base) for one in found] == [pytest.approx(e, abs=1e-5) for e in expected]


def test_a_calibration_gives_the_probabilities_that_it_gave(tmp_path: Path) -> None:
    heads = folder("answer", tmp_path)
    record = read_calibration(heads)
    assert record is not None and record.calibration.normalization == "raw" and record.questions == 20
    found = Likra.from_pretrained(heads).score(QUESTION, CHOICES)
    assert [one.probability for one in found] == pytest.approx([0.4099134171024828, 0.5900865828975173], abs=1e-5)


def test_recorded_evaluations_are_kept_beside_new_ones(tmp_path: Path) -> None:
    heads = folder("answer", tmp_path)
    [one] = read_evaluations(heads)
    assert one["normalization"] == "raw" and one["methods"]["likra"]["accuracy"] == 0.45
    record_evaluation({**one, "normalization": "byte"}, heads)
    assert [kept["normalization"] for kept in read_evaluations(heads)] == ["raw", "byte"]
    assert "normalisation" not in json.dumps(json.loads((heads / "evaluations.json").read_text()))
    write_card(heads)
    assert "45.0 (25.8 to 65.8)" in (heads / "README.md").read_text()


def test_what_is_published_is_read_and_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = folder("answer", tmp_path)
    hashed: list[str] = []
    sent: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.relative_to(heads).as_posix())
        return sha256(path)

    def publish(work: Path, repository: str, files: list[str], *_: object) -> str:
        sent.extend(name for name in files if (work / name).is_file())
        assert repository in (work / "README.md").read_text()
        return "address"

    monkeypatch.setattr("likra.hub.folder.sha256", counted)
    monkeypatch.setattr("likra.utils.hub_client.publish", publish)
    assert push(heads, "me/heads") == "address"
    assert sorted(hashed) == sorted(set(hashed)) and len(hashed) == 5
    assert set(sent) == {*hashed, "likra.json", "calibration.json", "evaluations.json", "README.md"}
    assert not (heads / "README.md").exists()
