"""From reports to answers without a label: train on pairs, then ask by prompts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cohorts import store_of
from einthoven import zeroshot as module
from einthoven.data.store import Store
from einthoven.embedding import Asked, Options
from einthoven.evaluate import bootstrap, macro_auroc
from einthoven.evaluate.zeroshot import zeroshot
from einthoven.language.prompts import Prompt
from einthoven.methods import concepts
from einthoven.predict import embed, load
from einthoven.run import train
from einthoven.zeroshot import judge_zeroshot

RECIPE: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "text": {"name": "bag", "view": "full"},
    "method": {"name": "dual", "size": 8},
    "train": {"epochs": 15, "batch": 16, "lr": 1e-2},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
}
QUICK = Options(resamples=100, permutations=99)
BANK = {
    "large": Prompt(("High voltage throughout.", "voltage is HIGH"), ("low voltage",)),
    "small": Prompt(("low voltage",), ()),
}
NAMED = SimpleNamespace(version="test", classes=tuple(BANK), of=lambda label, language: BANK[label])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Where a report speaks of high voltage, the first lead is three times as large; some have no report."""
    chance, rows = np.random.default_rng(1), []
    for i in range(160):
        high = int(chance.random() < 0.5)
        report = f"{'high' if high else 'low'} voltage, page {i % 3}" if i % 8 else ""
        size = ["large"] if high else ["small"]
        rows.append({"loud": high, "size": [*size, "odd"] if i % 2 else size, "report": report})
        rows[-1] |= {"patient": i // 2, "age": 50.0 + i % 9}
    return store_of(tmp_path_factory.mktemp("prompts") / "store", rows, signal=True)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(RECIPE, store.path, tmp_path_factory.mktemp("runs") / "dual")


@pytest.fixture(autouse=True)
def bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prompts", lambda path: NAMED)


def judged(run: Path, store: Store, task: str = "size", how: Options = QUICK) -> dict[str, Any]:
    return judge_zeroshot(run, store, Asked(task=task), how).figures


def test_prompts_answer_and_reports_are_found(run: Path, store: Store) -> None:
    figures = judged(run, store)
    rows = {(row["job"], row["figure"]): row for row in figures["rows"]}
    assert [job for job, _ in rows] == ["zero-shot", *["find its report"] * 3, *["find its ECG"] * 3]
    assert rows["zero-shot", "auroc"]["run"]["value"] > 0.9
    assert rows["zero-shot", "auroc"]["chance"] == 0.5
    assert rows["zero-shot", "auroc"]["run"]["value"] > rows["zero-shot", "auroc"]["untrained"]["value"]
    found = rows["find its report", "recall_at_1"]
    assert found["chance"] == pytest.approx(1 / 6) and found["run"]["value"] > found["chance"]
    assert rows["find its report", "recall_at_10"]["run"]["value"] == 1  # there are six different ones
    assert figures["skipped"] == {"zero-shot of odd": "no prompts"}
    about = figures["about"]
    assert set(about["zero-shot"]["per_label"]) == {"large", "small"}
    spread = about["zero-shot"]["prompt_sensitivity"]["large"]
    assert list(spread["prompts"]) == list(BANK["large"].positive)
    assert spread["least"] <= spread["mean"] <= spread["most"] and spread["sd"] >= 0
    assert about["find its report"] == {"ecgs": 42, "reports": 6}
    assert figures["counts"]["test"] == {"records": 48, "patients": 24} and figures["dim"] == 8


def test_the_figure_is_that_of_the_parts_on_the_test_split(run: Path, store: Store) -> None:
    figures = judged(run, store, how=Options(resamples=100, untrained=False))
    method = load(run).method
    planned = module.planned_for(load(run), store, "size")
    assert planned.task.labels == ("large", "odd", "small")
    test = planned.split.test
    ecg = embed(run, store, which="embedding").iloc[test, 2:].to_numpy()
    texts = ["high voltage throughout.", "voltage is high", "low voltage"]
    read = method.read(texts).detach().numpy().astype(float)  # type: ignore[operator]
    score = zeroshot(ecg, [read[:2], read[2:]], [read[2:], read[:0]])
    patient = store.records["patient_id"].to_numpy()[test]
    expected = bootstrap(macro_auroc, planned.truth[test][:, [0, 2]].astype(float), score, patient, 100)
    value = figures["rows"][0]["run"]
    np.testing.assert_allclose([value["value"], value["low"], value["high"]], expected, atol=1e-6)
    assert "gain" not in figures["rows"][0]


def test_what_cannot_be_is_said_in_one_line(
    run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="ask for a threshold"):
        judged(run, store, "age")
    with pytest.raises(ValueError, match="No prompt for loud in our prompts: they are for large, small"):
        judged(run, store, "loud")
    monkeypatch.setitem(BANK, "small", Prompt(("low voltage",), ("low voltage",)))
    left = judged(run, store, how=Options(resamples=20, untrained=False))
    assert left["skipped"]["zero-shot of small"] == "the same score for every ECG"
    assert left["about"]["zero-shot"]["per_label"]["small"]["value"] is None
    monkeypatch.setitem(BANK, "large", BANK["small"])
    with pytest.raises(ValueError, match="says the same of every ECG"):
        judged(run, store)
    mute = {key: value for key, value in RECIPE.items() if key != "text"} | {
        "task": {"column": "loud"},
        "method": {"name": "direct"},
        "head": {"name": "linear"},
        "loss": {"name": "bce"},
        "train": {"epochs": 1, "batch": 16},
    }
    with pytest.raises(ValueError, match="reads no prompts: train one with"):
        judged(train(mute, store.path, tmp_path / "mute"), store)


def test_supervision_by_concepts_answers_prompts_too(store: Store, tmp_path: Path) -> None:
    told = SimpleNamespace(
        concepts=("high", "low"),
        tag=lambda texts: np.array([[float("high" in text), float("low" in text)] for text in texts]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concepts, "lexicon", lambda: told)
        concepts.tags.cache_clear()
        made = {key: value for key, value in RECIPE.items() if key != "text"} | {
            "text": {"view": "full"},
            "method": {"name": "concepts", "least": 5},
        }
        figures = judged(train(made, store.path, tmp_path / "concepts"), store)
        concepts.tags.cache_clear()
    assert figures["rows"][0]["run"]["value"] > 0.9 and figures["dim"] == 4
