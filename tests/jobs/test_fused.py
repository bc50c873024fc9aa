"""What reports add, recomputed from the answers that a run wrote, and whom its text parts learned from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohorts import store_of
from einthoven import show
from einthoven.assemble import assemble
from einthoven.bench.reported import FILE, hardest, scored
from einthoven.bench.reported import Said as Line
from einthoven.bench.table import Referee
from einthoven.data.store import Store, open_store
from einthoven.embedding import Asked, Options, judge_embeddings
from einthoven.evaluate import macro_auroc, macro_of, paired, rmse
from einthoven.methods.concepts import Concepts
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.report import report
from einthoven.run import train
from einthoven.texts.tfidf import TfIdf

RECIPE: dict[str, Any] = {
    "task": {"name": "big", "column": "big"},
    "split": {"by": "patient", "shares": [0.4, 0.2, 0.4]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "text": {"name": "hashed", "view": "full", "allow_label_leakage": True},
    "fusion": {"name": "concat"},
    "head": {"name": "linear", "hidden": []},
    "loss": {"name": "bce"},
    "train": {"epochs": 2, "batch": 16, "lr": 1e-2},
    "evaluate": {"resamples": 40, "rows": [], "examples": 0},
}
ALONE = ("ECG alone", "text alone", "text alone, n-grams")
PLACES = {
    "en": "Recorded at rest, normal ecg in all leads",
    "de": "Sinusrhythmus, sonst normales EKG in Ruhe",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Reports in two languages that often, not always, say the label; a quarter has none or says nothing."""
    chance, rows = np.random.default_rng(3), []
    for i in range(480):
        big, told = int(chance.random() < 0.4), int(chance.random() < 0.25)
        word = {"en": ("small voltage", "high voltage"), "de": ("kleine Wellen", "hohe Wellen")}
        tongue = "en" if chance.random() < 0.6 else "de"
        seen = big if chance.random() < 0.8 else 1 - big
        text = f"{PLACES[tongue]}. {word[tongue][seen]} {i if i % 3 == 0 else ''}"
        written = ("", "Trace only requested.")[i % 2] if told else text
        rows.append(
            {"big": big, "patient": i // 2, "age": 50.0 + i % 9, "mmhg": 15.0 + 6 * big, "report": written}
        )
    return store_of(tmp_path_factory.mktemp("fused") / "store", rows, signal=True)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(RECIPE, store.path, tmp_path_factory.mktemp("runs") / "one")


def told_of(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "results.json").read_text())["reports"]
    return told


def column(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[[f"{name}/big"]].to_numpy(float)


def value(frame: pd.DataFrame, name: str) -> float:
    return float(macro_auroc(column(frame, "truth"), column(frame, name)))


def test_the_gain_is_that_over_the_best_of_one_side(run: Path) -> None:
    frame, told = pd.read_parquet(run / FILE), told_of(run)
    found = {row["name"]: row["auroc"]["value"] for row in told["answers"]}
    for name, said in found.items():
        assert said == pytest.approx(value(frame, name)), name
    best = max(ALONE, key=lambda name: found[name])
    assert told["gain"]["over"] == best and len({found[name] for name in ALONE}) == 3
    for key, over in (("gain", best), ("gain_ecg", "ECG alone")):
        gap = paired(
            macro_auroc,
            column(frame, "truth"),
            column(frame, over),
            column(frame, "both"),
            frame["patient_id"].to_numpy(str),
            resamples=40,
        ).difference
        mine = [told[key][name] for name in ("value", "low", "high")]
        assert mine == pytest.approx([gap.value, gap.low, gap.high])
        assert mine[0] == pytest.approx(found["both"] - found[over])


def test_groups_are_those_that_the_reports_say(run: Path, store: Store) -> None:
    frame, told = pd.read_parquet(run / FILE), told_of(run)
    records = store.records.set_index("record_id")
    split = plan(RECIPE, store).split
    said = records["report"].loc[frame["record_id"]].reset_index(drop=True)
    worded = said.str.contains("normal", regex=False)
    taught = {text.strip() for text in store.records["report"].iloc[split.train]}
    expected = {
        "reports English": worded & said.str.startswith("Recorded"),
        "reports German": worded & said.str.startswith("Sinus"),
        "reports not found in training": worded & ~said.str.strip().isin(taught),
        "without a report": ~worded,
    }
    assert {group["name"]: group["records"] for group in told["groups"]} == {
        name: int(some.sum()) for name, some in expected.items()
    }
    over = told["gain"]["over"]
    text = max(ALONE[1:], key=lambda name: value(frame, name))
    for group in told["groups"]:
        some = frame[expected[group["name"]].to_numpy()]
        assert frame[f"in group {group['name']}"].tolist() == expected[group["name"]].tolist()
        for key, name in (("ecg", "ECG alone"), ("text", text), ("both", "both")):
            assert group[key]["value"] == pytest.approx(value(some, name)), (group["name"], key)
        assert group["gain"]["value"] == pytest.approx(value(some, "both") - value(some, over))


def test_who_has_no_report_is_told_what_holds_for_everybody(run: Path) -> None:
    """The heads on a report have learned from reports only: of an empty one they would say anything."""
    frame = pd.read_parquet(run / FILE)
    none = frame["in group without a report"].to_numpy(bool)
    assert none.sum() >= 30
    assert np.array_equal(column(frame, "text alone")[none], column(frame, "prevalence")[none])
    assert np.array_equal(column(frame, "average of the two")[none], column(frame, "ECG alone")[none])
    assert not np.isclose(column(frame, "text alone")[~none], column(frame, "prevalence")[~none]).any()


def test_the_curve_loses_reports_in_the_order_that_was_drawn(run: Path) -> None:
    frame, told = pd.read_parquet(run / FILE), told_of(run)
    for point in told["missing"]:
        lost = frame["missing"].to_numpy() < round(point["share"] * len(frame))
        mixed = np.where(lost[:, None], column(frame, "both, text withheld"), column(frame, "both"))
        assert point["auroc"]["value"] == pytest.approx(float(macro_auroc(column(frame, "truth"), mixed)))


def test_a_regression_says_what_its_error_changes_by(store: Store, tmp_path: Path) -> None:
    task = {"name": "mmhg", "column": "mmhg", "kind": "regression"}
    run = train(RECIPE | {"task": task, "loss": {"name": "mse"}}, store.path, tmp_path / "mmhg")
    frame, told = pd.read_parquet(run / FILE), told_of(run)
    truth = frame[["truth/mmhg"]].to_numpy()
    each = {n: float(macro_of(rmse)(truth, frame[[f"{n}/mmhg"]].to_numpy())) for n in (*ALONE, "both")}
    over = min(ALONE, key=lambda name: each[name])
    assert told["gain"]["over"] == over
    assert told["gain"]["value"] == pytest.approx(each["both"] - each[over])
    assert f"RMSE of both less that of {over}: {told['gain']['value']:+.3f}" in show.told(run)
    assert "below zero, both know more" in report(run).read_text()


@pytest.mark.parametrize("metric", ["auroc", "rmse"])
def test_a_table_takes_the_side_that_is_hardest_to_beat(run: Path, metric: str) -> None:
    truth = np.arange(40.0)[:, None] % 2
    referee = Referee(run, 20, truths=lambda answers: {metric: np.resize(truth, answers.truth.shape)})
    good, bad = np.resize(truth, referee.first.truth.shape), np.full(referee.first.truth.shape, 0.5)
    ways = {"ECG alone": bad, "text alone": good, "text alone, n-grams": bad, "both": bad}
    line = Line(ways, {}, np.arange(len(bad)))
    assert hardest(referee, scored(referee, [line])) == "text alone"


@pytest.mark.parametrize("way", ["tfidf", "concepts"])
def test_reports_of_validation_and_test_teach_nothing(way: str, tmp_path: Path) -> None:
    """Other words in the reports of validation and test leave all that a part fits as it was."""
    made: dict[str, Any] = {key: RECIPE[key] for key in ("split", "signal", "backbone", "train", "evaluate")}
    made |= (
        {"text": {"name": "tfidf", "view": "full", "dim": 8, "buckets": 256}, "method": {"name": "dual"}}
        if way == "tfidf"
        else {"text": {"view": "full"}, "method": {"name": "concepts"}}
    )
    rows = [{"patient": i // 2, "report": f"normal ecg {'abc'[i % 3]}"} for i in range(120)]
    plain = store_of(tmp_path / "plain", rows)
    split = plan(made, plain).split
    for row in (*split.validation, *split.test):
        rows[row]["report"] = "atrial fibrillation, xylophone"
    other = store_of(tmp_path / "other", rows)
    fitted = [fits(assemble(plan(made, store), "cpu").method, way) for store in (plain, other)]
    assert fitted[0].keys() == fitted[1].keys() and fitted[0]
    for name, known in fitted[0].items():
        np.testing.assert_array_equal(known, fitted[1][name], err_msg=name)
    for row in split.train:
        rows[row]["report"] = "atrial fibrillation, xylophone"
    taught = fits(assemble(plan(made, store_of(tmp_path / "taught", rows)), "cpu").method, way)
    assert any(not np.array_equal(known, taught[name]) for name, known in fitted[0].items())


def test_a_run_remembers_what_its_masked_reports_did_not_show(tmp_path: Path) -> None:
    """A text that comes without the store is masked as training's were: of all labels of store and task."""
    rows = [
        {
            "big": i % 2,
            "patient": i // 2,
            "found": [["Takotsubo"], ["Brugada-Muster"]][i % 2],
            "kind": ["Yamaguchi", "Barlow"][i % 2],
            "report": f"Sinusrhythmus. Brugada-Muster, Takotsubo, Barlow, xylophon {i % 5}",
        }
        for i in range(120)
    ]
    store = store_of(tmp_path / "store", rows)
    made = RECIPE | {"text": {"name": "hashed", "view": "masked"}, "task": {"column": "kind"}}
    made |= {"loss": {"name": "cross_entropy"}, "train": RECIPE["train"] | {"epochs": 1}}
    run = train(made, store.path, tmp_path / "run")
    assert set(plan(made, store).texts or ()) == {f"xylophon {i}" for i in range(5)}
    model = load(run, "cpu")
    assert model.shown(rows[0]["report"]) == "xylophon 0"
    with pytest.raises(ValueError, match="leaves nothing of this text"):
        model.shown("Takotsubo, Yamaguchi")


def test_a_column_that_was_read_as_statements_is_no_text(tmp_path: Path) -> None:
    rows = [{"big": i % 2, "patient": i, "befund": ["linkstyp", "sinusrhythmus"]} for i in range(40)]
    store = store_of(tmp_path / "store", rows)
    with pytest.raises(ValueError, match="'befund' of .* holds lists: .*Call it 'report'"):
        plan(RECIPE | {"text": RECIPE["text"] | {"column": "befund"}}, store)


def test_features_of_a_run_without_texts_are_judged(store: Store, tmp_path: Path) -> None:
    """Where ECGs are read alone, neither [text] nor the reports of a store are of any account."""
    mute = train(RECIPE | {"text": {"name": "hashed", "view": "none"}}, store.path, tmp_path / "mute")
    said = [{"big": i % 2, "patient": i // 2, "report": "Trace only requested."} for i in range(80)]
    for other in (store, store_of(tmp_path / "said", said)):
        found = judge_embeddings(mute, other, Asked(what="knn", task="big"), Options(resamples=10))
        assert found.figures["rows"]
    with pytest.raises(ValueError, match="'report' says nothing of an ECG, as in 'Trace only requested.'"):
        plan(RECIPE, open_store(tmp_path / "said"))


def fits(method: Any, way: str) -> dict[str, np.ndarray]:
    """Return what a part has fitted on reports."""
    part = method.text if way == "tfidf" else method
    assert isinstance(part, TfIdf | Concepts)
    told = {name: buffer.numpy() for name, buffer in part.named_buffers(recurse=False)}
    return told | ({} if way == "tfidf" else {"bias": part.answer.bias.detach().numpy()})
