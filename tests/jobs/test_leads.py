"""Runs judged on fewer leads: picked by name, in any order, by the run's own head and by probes."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cohorts import pairs, store_of
from einthoven import cli, parts, python
from einthoven.data.loader import Reader, Windows
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Signal
from einthoven.embedding import planned_for
from einthoven.evaluate.compare import paired
from einthoven.evaluate.embed import features
from einthoven.evaluate.figures import figure
from einthoven.evaluate.probe import logistic
from einthoven.evaluate.scores import macro_auroc
from einthoven.layers.pool import mean
from einthoven.predict import load
from einthoven.reduced import ALL, Picked, lead_sets, picked, with_leads
from einthoven.results import read_results
from einthoven.run import train
from einthoven.types import Batch

SHARED: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8},
    "evaluate": {"resamples": 100, "rows": [], "examples": 0},
}
TAUGHT: dict[str, Any] = SHARED | {
    "task": {"column": "big"},
    "head": {"name": "linear", "hidden": []},
    "loss": {"name": "bce"},
    "train": {"epochs": 6, "batch": 16, "lr": 1e-2},
}
ALONE: dict[str, Any] = SHARED | {
    "head": {"name": "project", "size": 5},
    "loss": {"name": "nt_xent"},
    "augment": [{"name": "repeat"}, {"name": "noise"}],
    "train": {"epochs": 2, "batch": 16, "lr": 1e-3, "validate": 1},
}
QUICK = {"resamples": 100, "permutations": 19}
FEW = QUICK | {"leads": "II,I", "untrained": False}
NUMBERS = {1: ["V2"], 2: ["II", "I"], 6: ["aVF", "I", "V6", "II", "aVR", "V1"]}
NUMBERS[8] = ["V3", "II", "V6", "V1", "I", "V5", "V2", "V4"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """160 records of 80 patients; whoever is big has a large lead I."""
    return store_of(tmp_path_factory.mktemp("leads") / "store", pairs(160), signal=True)


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = {"taught": TAUGHT, "alone": ALONE}
    return {name: train(recipe, store.path, folder / name) for name, recipe in made.items()}


def rows_of(figures: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["job"], row["figure"]): row for row in figures["rows"]}


@pytest.mark.parametrize("count", NUMBERS)
@pytest.mark.parametrize("name", parts.names("backbones"))
def test_leads_in_any_order_are_the_same_leads_picked_by_name(name: str, count: int) -> None:
    torch.manual_seed(0)
    wants = Signal(seconds=2.5, scale="crop")
    backbone = parts.build("backbones", {"name": name}, wants=wants).eval()
    nobody, keep = torch.zeros(2, dtype=torch.long), NUMBERS[count]
    whole = Batch(torch.randn(2, 12, wants.samples), nobody, nobody)
    places = torch.tensor([LEADS.index(lead) for lead in keep])
    with torch.no_grad():
        few = picked(whole, LEADS, tuple(keep))
        assert few.ecg.shape[1] == count and few.leads is not None
        said = backbone(few.ecg, few.leads)
        turned = backbone(few.ecg.flip(1), few.leads.flip(1))
        absent = torch.full((2, 12), -1)
        absent[:, places] = places
        named = torch.where((absent >= 0)[..., None], whole.ecg, 7.0)  # what an absent lead holds is not read
        zeroed = backbone(named, absent)
    for other in (turned, zeroed):
        torch.testing.assert_close(said.values, other.values)
        assert (said.real is None) == (other.real is None)
        assert said.real is None or torch.equal(said.real, other.real)
    everything = backbone(whole.ecg)
    assert not torch.allclose(mean(said), mean(everything), atol=1e-3)


def test_a_lead_that_a_record_lacks_stays_absent() -> None:
    nobody = torch.zeros(2, dtype=torch.long)
    leads = torch.tensor([[0, 1, 6], [0, -1, 6]])
    few = picked(Batch(torch.ones(2, 3, 5), nobody, nobody, leads), ("I", "II", "V1"), ("V1", "II"))
    assert few.leads is not None and few.leads.tolist() == [[6, 1], [6, -1]]


def test_the_runs_own_head_answers_as_it_was_judged_and_as_zeros_would_make_it(
    store: Store, runs: dict[str, Path]
) -> None:
    figures, file = python.evaluate("leads", runs["taught"], store.path, options=FEW)
    assert file.name == "big.leads.resamples-100.permutations-19.untrained-false.leads-ii,i.json"
    assert figures["leads"] == {ALL: list(LEADS), "II": ["II"], "I": ["I"]}
    rows = rows_of(figures)
    judged = read_results(runs["taught"])["test"]["auroc"]["macro"]
    assert rows[f"own head, {ALL}", "auroc"]["run"] == pytest.approx(judged, abs=1e-6)
    model = load(runs["taught"])
    planned = planned_for(model, store, None)
    truth = planned.truth[planned.split.test]
    scores = {}
    for lead in ("I", "II"):
        ecg = store.read(planned.split.test)
        zeroed = np.where((np.array(LEADS) == lead)[:, None], ecg, 0.0)
        scores[lead] = slow_answers(model, zeroed, lead)
        mine = rows[f"own head, {lead}", "auroc"]
        assert mine["run"]["value"] == pytest.approx(roc_auc_score(truth[:, 0], scores[lead]), abs=1e-6)
        assert mine["leads"] == [lead] and "untrained" not in mine
    told = pd.read_parquet(runs["taught"] / "predictions.parquet")
    whole = told.loc[told["split"] == "test", "score/big"].to_numpy()[:, None]
    patient = store.records["patient_id"].to_numpy(dtype=object).astype(str)[planned.split.test]
    gap = paired(macro_auroc, truth, whole, scores["II"][:, None], patient, resamples=100).difference
    assert rows["own head, II", "auroc"]["against_all"] == pytest.approx(figure(gap), abs=1e-6)
    assert rows["own head, II", "auroc"]["against_all"]["high"] < 0  # the label is in lead I
    assert rows["probe, I", "auroc"]["run"]["value"] > rows["probe, II", "auroc"]["run"]["value"]


def slow_answers(model: Any, ecg: np.ndarray, *leads: str) -> np.ndarray:
    """Answer window by window from ECGs of which all but some leads are zero."""
    out = []
    for one in ecg:
        cut = torch.from_numpy(np.stack([one[:, s : s + 50] for s in (0, 25, 50)]).astype(np.float32))
        nobody, where = torch.zeros(3, dtype=torch.long), torch.full((3, 12), -1)
        for lead in leads:
            where[:, LEADS.index(lead)] = LEADS.index(lead)
        with torch.no_grad():
            logits = model.method.eval().outputs(Batch(cut, nobody, nobody, where))["logits"]
        out.append(float(logits.sigmoid().max()))
    return np.array(out)


@pytest.mark.parametrize("derive", [True, False])
def test_one_and_two_give_the_other_limb_leads_unless_told_not_to(
    store: Store, runs: dict[str, Path], derive: bool
) -> None:
    how = FEW | {"leads": "II+I+V1,II+V1", "derive": derive}
    figures, _ = python.evaluate("leads", runs["taught"], store.path, options=how)
    model = load(runs["taught"])
    planned = planned_for(model, store, None)
    ecg, made = store.read(planned.split.test), ["III", "aVR", "aVL", "aVF"] if derive else []
    one, two = ecg[:, 0].copy(), ecg[:, 1].copy()
    for lead, value in {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2}.items():
        ecg[:, LEADS.index(lead)] = value
    ecg[:, LEADS.index("aVF")] = two - one / 2
    for name, leads in {"II+I+V1": ["I", "II", "V1", *made], "II+V1": ["II", "V1"]}.items():
        left = np.where(np.isin(LEADS, leads)[:, None], ecg, 0.0)
        wanted = roc_auc_score(planned.truth[planned.split.test][:, 0], slow_answers(model, left, *leads))
        mine = rows_of(figures)[f"own head, {name}", "auroc"]
        assert mine["run"]["value"] == pytest.approx(wanted, abs=1e-6)
    assert figures["derived"] == ({"II+I+V1": made} if derive else {})


def test_a_limb_lead_is_not_computed_from_a_lead_that_a_record_lacks() -> None:
    nobody = torch.zeros(2, dtype=torch.long)
    ecg, leads = torch.tensor([[[4.0], [6.0]]] * 2), torch.tensor([[0, 1], [0, -1]])
    few = picked(Batch(ecg, nobody, nobody, leads), ("I", "II"), ("I", "II"), ("III", "aVR"))
    assert few.ecg[0, :, 0].tolist() == [4, 6, 2, -5]
    assert few.leads is not None and few.leads.tolist() == [[0, 1, 2, 3], [0, -1, -1, -1]]


def test_a_probe_is_shown_fewer_leads_or_fitted_again(store: Store, runs: dict[str, Path]) -> None:
    figures, _ = python.evaluate("leads", runs["alone"], store.path, task="big", options=FEW)
    rows = rows_of(figures)
    assert {job for job, _ in rows} == {
        f"{job}, {name}" for job in ("probe", "probe fitted again") for name in (ALL, "II", "I")
    }
    model = load(runs["alone"])
    planned = planned_for(model, store, "big")
    reader = Reader(planned.store, planned.wants)
    splits = planned.split.named().values()
    all_x = [features(model.method, Windows(reader, 0.25), some) for some in splits]
    few_x = [features(model.method, Picked(reader, 0.25, keep=("I",)), some) for some in splits]
    y = [planned.truth[some] for some in splits]
    shown = logistic(all_x[0], y[0], all_x[1], y[1], few_x[2])
    again = logistic(few_x[0], y[0], few_x[1], y[1], few_x[2])
    for job, score in (("probe", shown), ("probe fitted again", again)):
        value = rows[f"{job}, I", "auroc"]["run"]["value"]
        assert value == pytest.approx(roc_auc_score(y[2][:, 0], score[:, 0]), abs=1e-6)
        assert {"value", "low", "high"} == set(rows[f"{job}, I", "auroc"]["against_all"])
        assert "against_all" not in rows[f"{job}, {ALL}", "auroc"]
    assert rows[f"probe, {ALL}", "auroc"]["run"] == rows[f"probe fitted again, {ALL}", "auroc"]["run"]


def test_numbers_and_other_tasks_are_probed(store: Store, runs: dict[str, Path]) -> None:
    figures, _ = python.evaluate("leads", runs["taught"], store.path, task="age", options=FEW)
    rows = rows_of(figures)
    assert {name for _, name in rows} == {"rmse", "mae", "r2", "pearson"}
    assert not any(job.startswith("own head") for job, _ in rows)
    assert rows["probe, II", "rmse"]["better"] == "lower"


def test_random_weights_stand_beside(store: Store, runs: dict[str, Path]) -> None:
    figures, _ = python.evaluate("leads", runs["taught"], store.path, options=QUICK | {"leads": "limb"})
    for (job, _), row in rows_of(figures).items():
        assert ("untrained" in row) == ("gain" in row) == (not job.startswith("own head"))


def test_sets_of_leads_are_named_in_any_spelling() -> None:
    assert lead_sets("limb, lead ii+v1", Signal()) == {
        ALL: LEADS,
        "limb": LEADS[:6],
        "II+V1": ("II", "V1"),
    }
    two = Signal(leads=("II", "I"))
    assert lead_sets("limb,I+II,II,I", two) == {ALL: ("II", "I"), "II": ("II",), "I": ("I",)}
    assert lead_sets("chest+I+V1", Signal())["chest+I+V1"] == (*LEADS[6:], "I")
    for said, lacks in (("V1", "V1"), ("I+X9", "X9"), ("chest", "chest"), ("", "")):
        with pytest.raises(ValueError, match=f"this model reads II, I, but not '{lacks}'; say sets"):
            lead_sets(said, two)


def test_the_command_prints_the_difference(
    store: Store, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["evaluate", "leads", runs["taught"], "--data", store.path, "--set", "leads=II, I+II"]
    words += ["--set", "untrained=false", "--set", "resamples=20"]
    monkeypatch.setattr(sys, "argv", ["einthoven", *map(str, words)])
    cli.main()
    told = capsys.readouterr().out.splitlines()
    assert "against all leads" in told[1]
    assert [line.split("  ")[0] for line in told[2:5]] == [
        f"own head, {ALL}",
        "own head, II",
        "own head, I+II",
    ]
    assert told[-2] == "I+II: III, aVR, aVL, aVF computed from I and II, as in an import"
    assert told[-1].split(":")[1].endswith("leads-ii,i+ii.json, map")


def test_a_record_without_any_lead_of_a_set_is_left_out_of_all_sets(
    store: Store, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(next(iter(runs.values())))
    planned = planned_for(model, store, "big")
    absent = np.full(len(store), "", dtype=object)
    gone = [int(planned.split.test[3]), int(planned.split.train[5])]
    absent[gone[0]], absent[gone[1]], absent[planned.split.test[4]] = "I II III", "II", "I"
    monkeypatch.setattr(Reader, "absent", property(lambda self: absent))
    fewer = with_leads(planned, {ALL: LEADS, "II": ("II",), "I+II": ("I", "II")})
    assert set(planned.split.test) - set(fewer.split.test) == {gone[0]}
    assert set(planned.split.train) - set(fewer.split.train) == {gone[1]}
    assert fewer.left_out["holds no lead of a set"] == 2
    absent[:] = "II"
    with pytest.raises(ValueError, match="No record of .* holds a lead of each set"):
        with_leads(planned, {"II": ("II",)})
