"""Pre-training from a recipe, then what starts from it: probes, fewer leads, resuming, warnings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from einthoven import parts, show
from einthoven.checkpoint import load_part
from einthoven.data.importing import import_
from einthoven.data.store import Store
from einthoven.ecg import LEADS
from einthoven.methods.ecg_jepa import ECGJEPA
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.python import Arrays
from einthoven.recipe import edited
from einthoven.recipe import load as load_recipe
from einthoven.run import Progress, train

RECIPES = Path(__file__).parents[2] / "recipes/pretrain"
SMALL = [
    "signal.seconds=1",
    "split.by=patient",
    "split.shares=[0.5, 0.2, 0.3]",
    "backbone.size=[16, 2, 2]",
    "train.steps=4",
    "train.batch=16",
    "evaluate.rows=[]",
    "evaluate.resamples=20",
]
PATCH = {"mlae": 1.0, "vqvae": 0.1, "ecg_jepa": 0.1}
METHODS = ("st_mem", "mtae", "mlae", "ecg_jepa", "vqvae")
SIZES = {"ecg_jepa": ["method.predictor=[8, 1, 2]"], "vqvae": ["method.codes=8"]}
each = pytest.mark.parametrize("name", METHODS)


def recipe(name: str, *sets: str) -> dict[str, Any]:
    decoder = SIZES.get(name, ["method.decoder=[8, 1, 2]"])
    patch = f"backbone.patch={PATCH.get(name, 0.1)}"
    return load_recipe(RECIPES / f"{name}.toml", [*SMALL, patch, *decoder, *sets])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Noise, and in every third record a wave: a difference of shape, which no norm of a patch hides."""
    ecg = np.random.default_rng(0).normal(0, 0.2, (80, 12, 100)).astype(np.float32)
    ecg[::3] += 0.4 * np.sin(np.arange(100) / 3).astype(np.float32)
    cells = [{"big": int(i % 3 == 0)} for i in range(80)]
    source = Arrays(ecg, cells, hertz=100.0, leads=LEADS, patients=[i // 2 for i in range(80)])
    return import_(source, tmp_path_factory.mktemp("pretrain") / "store", seconds=1.0)


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(recipe(name), store.path, folder / name) for name in METHODS}


@each
def test_every_method_learns_from_its_recipe_and_a_probe_reads_its_features(
    name: str, runs: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    log = pd.read_csv(runs[name] / "log.csv")
    watched = {"vqvae": "perplexity"}.get(name, "feature_sd")
    assert np.isfinite(log[["loss", watched]].to_numpy()).all() and log["validation_loss"].notna().any()
    made = recipe(name)
    probe = {
        "task": {"column": "big"},
        "backbone": {"name": "vit", "start": str(runs[name]), "freeze": True},  # its options are the run's
        "head": {"name": "probe"},
        "loss": {"name": "bce"},
        "train": {"solver": "probe", "batch": 16},
    } | {key: made[key] for key in ("signal", "split", "evaluate")}
    run = train(probe, store.path, tmp_path / "probe")
    found = json.loads((run / "results.json").read_text())["test"]["auroc"]["macro"]
    assert found["value"] > 0.8, "the wave is not seen"


@each
def test_a_killed_run_goes_on_to_the_same_bits(
    name: str, runs: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(now: Progress) -> None:
        if now.line and now.step >= 2:
            raise Killed

    with pytest.raises(Killed):
        train(recipe(name), store.path, tmp_path / "run", watch=kill)
    resumed = train(recipe(name), store.path, tmp_path / "run", resume=True)
    whole = load(runs[name]).method.state_dict()
    for key, value in load(resumed).method.state_dict().items():
        assert value.equal(whole[key]), key


@pytest.mark.parametrize(
    "name",
    ["probe", "probe_leads", "knn", "lead_ii", "finetune", "finetune_together", "triplet", "hybrid", "rules"],
)
def test_every_recipe_that_comes_after_runs_to_its_end(
    name: str, runs: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    """As its header says: from a pre-trained transformer, whose options it keeps."""
    start = f"start={runs['mtae' if name == 'finetune_together' else 'st_mem']}"
    begins = {"rules": [], "hybrid": [f"backbone.inner.{start}"]}.get(name, [f"backbone.{start}"])
    task = ['task={column="big"}', "crop.stride=1", "evaluate.examples=0"]
    few = [change for change in SMALL if not change.startswith("backbone.")]
    made = load_recipe(RECIPES / f"{name}.toml", [*few, *task, *begins])
    run = train(made, store.path, tmp_path / "run")
    if name == "triplet":  # gives a space, no answers
        assert np.isfinite(pd.read_csv(run / "log.csv")["loss/triplet"]).all()
    else:
        told = json.loads((run / "results.json").read_text())
        assert 0 <= told["test"]["auroc"]["macro"]["value"] <= 1


def test_who_knows_leads_by_name_starts_on_fewer(runs: dict[str, Path], store: Store) -> None:
    made = recipe("st_mem", 'signal.leads=["II"]')
    begun = plan(made | {"backbone": {"name": "vit", "start": str(runs["st_mem"])}}, store)
    assert begun.recipe["backbone"] | made["backbone"] == begun.recipe["backbone"]
    backbone = parts.build("backbones", made["backbone"], wants=begun.wants)
    load_part(backbone, "backbone.", runs["st_mem"])
    all_at_once = parts.build("backbones", recipe("mtae")["backbone"], wants=begun.wants)
    with pytest.raises(ValueError, match=r"was learned with \[signal\] leads"):
        load_part(all_at_once, "backbone.", runs["mtae"])


def test_a_checkpoint_of_another_architecture_is_refused(
    runs: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    made = edited(recipe("ecg_jepa"), [f"backbone.start={runs['st_mem']}"])
    with pytest.raises(
        ValueError, match=r"was learned with \[backbone\] special = 'sep', and this recipe says"
    ):
        train(made, store.path, tmp_path / "run")
    other = {"backbone": {"name": "resnet1d_wang", "start": str(runs["st_mem"])}, "head": {"name": "linear"}}
    other |= {"task": {"column": "big"}, "loss": {"name": "bce"}, "train": {"epochs": 1}}
    kept = {key: made[key] for key in ("split", "signal")}
    kept["signal"] = {"seconds": 1, "scale": "train"}
    with pytest.raises(ValueError, match=r"weights\.safetensors does not fit ResNet1d"):
        train(other | kept, store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("special", "none"), ("size", [16, 2, 1]), ("attention", "cross_pattern")],
)
def test_a_start_that_would_load_but_means_something_else_is_refused(
    runs: dict[str, Path], store: Store, option: str, value: object
) -> None:
    """Heads and attention leave no trace in the shapes of weights."""
    table = {"name": "vit", "start": str(runs["st_mem"]), "freeze": True}
    made = recipe("st_mem") | {"backbone": table}
    assert plan(made, store).recipe["backbone"]["special"] == "sep"
    with pytest.raises(ValueError, match=rf"was learned with \[backbone\] {option} = .*leave it out"):
        plan(made | {"backbone": table | {option: value}}, store)


def test_leads_that_a_run_has_never_seen_are_refused(
    runs: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    few = train(recipe("st_mem", 'signal.leads=["II", "V1"]'), store.path, tmp_path / "few")
    begun = plan(recipe("st_mem") | {"backbone": {"name": "vit", "start": str(few)}}, store)
    backbone = parts.build("backbones", begun.recipe["backbone"], wants=begun.wants)
    with pytest.raises(ValueError, match=r"has never seen I, III, .*say \[signal\] leads = .'II', 'V1'."):
        load_part(backbone, "backbone.", few)


def test_an_unknown_lead_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"leads: 'V7' is not one of I, II"):
        plan(recipe("st_mem", 'signal.leads=["II", "V7"]'), store)


def test_an_ecg_with_missing_samples_is_skipped_and_counted(tmp_path: Path) -> None:
    ecg = np.random.default_rng(0).normal(0, 0.2, (40, 12, 100)).astype(np.float32)
    ecg[7, 3, 20:30] = np.nan
    source = Arrays(ecg, [{} for _ in ecg], hertz=100.0, leads=LEADS, patients=list(range(40)))
    store = import_(source, tmp_path / "store", seconds=1.0)
    planned = plan(recipe("st_mem"), store)
    assert planned.left_out["has missing samples"] == 1
    every = np.concatenate(list(planned.split.named().values()))
    assert sorted(every) == [i for i in range(40) if i != 7]


def test_a_collapse_is_told_loudly(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A teacher that answers the same for every ECG."""
    encode = ECGJEPA.forward

    def alike(self: ECGJEPA, batch: Any) -> Any:
        return encode(self, batch) | {"feature_sd": batch.ecg.new_tensor(1e-4)}

    monkeypatch.setattr(ECGJEPA, "forward", alike)
    with show.training() as watch:
        train(recipe("ecg_jepa", "train.steps=12"), store.path, tmp_path / "run", watch=watch)
    told = capsys.readouterr().err
    assert "The features have collapsed: sd 0.000" in " ".join(told.split())
