"""The figures of a bench against slow loops from the definition, and against `paired`."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cohorts import store_of
from einthoven.bench.grid import Cell, Grid
from einthoven.bench.published import full_version, published
from einthoven.bench.table import Line, Table, judged, less
from einthoven.bench.words import page
from einthoven.bench.write import write_csv
from einthoven.data.store import Store
from einthoven.evaluate import macro_auroc, paired, resample_weights

LABELS = ("common", "usual", "rare")
ARMS = ("linear", "decoupled")
RESAMPLES = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [{"kinds": ["common"] if i % 2 else ["usual", "rare"]} for i in range(20)]
    return store_of(tmp_path_factory.mktemp("table") / "store", rows)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    told = (np.random.default_rng(7).random((80, 3)) < (0.5, 0.3, 0.0)).astype(float)
    told[:2, 2] = 1  # of one patient: a third of the resamples lose this label
    return told


PATIENT = np.array([f"p{i // 2}" for i in range(80)])


def answers(truth: np.ndarray, name: str, arm: str, seed: int) -> np.ndarray:
    chance = np.random.default_rng([len(name), ARMS.index(arm), seed])
    odds = chance.normal((0.8 + 0.3 * ARMS.index(arm)) * truth - 1, 1)
    return 1 / (1 + np.exp(-odds))


def folder(run: Path, truth: np.ndarray, score: np.ndarray, *, order: Any = slice(None)) -> Path:
    """Write what the table reads of a run."""
    run.mkdir(parents=True)
    frame: dict[str, Any] = {"record_id": [f"r{i}" for i in range(len(truth))], "patient_id": PATIENT}
    frame |= {"split": "test", "age": 50.0, "sex": "female"}
    frame |= {f"truth/{label}": truth[:, i] for i, label in enumerate(LABELS)}
    frame |= {f"score/{label}": score[:, i] for i, label in enumerate(LABELS)}
    pd.DataFrame(frame).iloc[order].to_parquet(run / "predictions.parquet")
    sizes = {split: {"records": 80, "patients": 40} for split in ("train", "validation", "test")}
    results = {"model": {"parameters": 9, "steps": 5}, "counts": sizes, "split": "fold"}
    (run / "results.json").write_text(json.dumps(results | {"task": {"labels": LABELS}}))
    versions = {"einthoven": "0", "torch": "0"}
    told = {"versions": versions, "git": None, "device": "cpu", "seconds": {"train": 2.0, "answers": 1.0}}
    (run / "environment.json").write_text(json.dumps(told))
    return run


SEEDS = {("one", "linear"): (0, 1, 2), ("one", "decoupled"): (0, 1), ("other", "linear"): (0, 2)}
SEEDS |= {("other", "decoupled"): (0, 2)}


def cell(name: str, arm: str, seed: int) -> Cell:
    return Cell("kinds", name, arm, seed, {"backbone": {"name": "lstm"}, "head": {"name": arm}})


@pytest.fixture(scope="module")
def table(store: Store, truth: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Table:
    runs = tmp_path_factory.mktemp("runs")
    cells = tuple(cell(name, arm, seed) for name in ("one", "other") for seed in range(3) for arm in ARMS)
    made = Table(Grid(Path("grid.toml"), "Trial", True, ARMS, cells), store, "", RESAMPLES)
    for (name, arm), seeds in SEEDS.items():
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(80) if seed else slice(None)
            run = folder(runs / f"{name}{arm}{seed}", truth, answers(truth, name, arm, seed), order=order)
            assert made.take(cell(name, arm, seed), run) == ""
    return made


def by_hand(truth: np.ndarray, score: np.ndarray) -> float:
    """Macro AUROC over the labels that hold both values."""
    there = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    return float(np.mean([roc_auc_score(truth[:, k], score[:, k]) for k in there]))


def gaps_by_hand(truth: np.ndarray, name: str, seeds: tuple[int, ...]) -> np.ndarray:
    """The mean gain over seeds, of all records and then of each resample, drawn record by record."""
    drawn = [np.repeat(np.arange(80), line) for line in resample_weights(PATIENT, RESAMPLES)]
    told = []
    for rows in [np.arange(80), *drawn]:
        gaps = []
        for seed in seeds:
            base, mine = (by_hand(truth[rows], answers(truth, name, arm, seed)[rows]) for arm in ARMS)
            gaps.append(mine - base)
        told.append(np.mean(gaps))
    return np.array(told)


def line_of(table: Table, recipe: str, arm: str, of: str) -> Line:
    (found,) = [x for x in table.lines() if (x.recipe, x.arm, x.of) == (recipe, arm, of)]
    return found


@pytest.mark.parametrize(("name", "seeds"), [("one", (0, 1)), ("other", (0, 2))])
def test_the_gain_is_the_mean_over_common_seeds_of_one_draw(
    table: Table, truth: np.ndarray, name: str, seeds: tuple[int, ...]
) -> None:
    gain = line_of(table, name, "decoupled", "seeds").gain
    value, *draws = gaps_by_hand(truth, name, seeds)
    assert gain is not None and gain.seeds == seeds
    assert gain.value == pytest.approx(value, abs=1e-12)
    assert (gain.low, gain.high) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=1e-12)
    above = np.array(draws) > 0
    assert gain.p == pytest.approx(min(1, 2 * (min(above.sum(), (~above).sum()) + 1) / (RESAMPLES + 1)))


def test_one_seed_is_what_paired_says(table: Table, truth: np.ndarray) -> None:
    scores = {arm: table.runs("kinds", "other", arm)[2].score for arm in ARMS}
    gain = judged(less(scores["decoupled"], scores["linear"]), (2,))
    pair = [answers(truth, "other", arm, 2) for arm in ARMS]
    said = paired(macro_auroc, truth, *pair, PATIENT, resamples=RESAMPLES)
    assert gain[:3] == pytest.approx(said.difference, abs=1e-12) and gain.p == said.p


def test_several_seeds_are_what_paired_says_of_their_labels_side_by_side(
    table: Table, truth: np.ndarray
) -> None:
    # Each seed has the same labels in a resample, so the mean of means is the mean over all columns.
    pair = [np.hstack([answers(truth, "other", arm, seed) for seed in (0, 2)]) for arm in ARMS]
    said = paired(macro_auroc, np.hstack([truth, truth]), *pair, PATIENT, resamples=RESAMPLES)
    gain = line_of(table, "other", "decoupled", "seeds").gain
    assert gain is not None and gain[:4] == pytest.approx((*said.difference, said.p), abs=1e-12)


def test_the_gain_over_recipes_is_the_mean_of_their_gains(table: Table, truth: np.ndarray) -> None:
    both = (gaps_by_hand(truth, "one", (0, 1)) + gaps_by_hand(truth, "other", (0, 2))) / 2
    gain = line_of(table, "mean", "decoupled", "recipes").gain
    assert gain is not None
    assert gain[:3] == pytest.approx((both[0], *np.percentile(both[1:], [2.5, 97.5])), abs=1e-12)


def test_a_mean_has_the_spread_of_its_seeds(table: Table, truth: np.ndarray) -> None:
    line = line_of(table, "one", "linear", "seeds")
    values = [by_hand(truth, answers(truth, "one", "linear", seed)) for seed in range(3)]
    assert line.score is not None
    assert line.score.value == pytest.approx(np.mean(values))
    assert line.sd == pytest.approx(np.std(values, ddof=1))
    assert line.gain is None and line.seeds == (0, 1, 2)


def test_an_ensemble_averages_the_probabilities_of_those_that_are_there(
    table: Table, truth: np.ndarray
) -> None:
    assert table.members("kinds") == {0: ("one", "other")}  # seed 2: "one" has no decoupled run
    for arm in ARMS:
        line = line_of(table, "ensemble", arm, "seeds")
        mean = (answers(truth, "one", arm, 0) + answers(truth, "other", arm, 0)) / 2
        assert line.score is not None and line.score.value == pytest.approx(by_hand(truth, mean), abs=1e-12)
        assert (line.gain is None) == (arm == "linear")


def test_a_run_on_other_records_is_named_and_left_out(
    table: Table, truth: np.ndarray, tmp_path: Path
) -> None:
    other = truth.copy()
    other[3, 0] = 1 - other[3, 0]
    run = folder(tmp_path / "run", other, answers(truth, "one", "decoupled", 2))
    reason = table.take(cell("one", "decoupled", 2), run)
    assert "the truth of r3, common" in reason and cell("one", "decoupled", 2) not in table.finished


def test_the_long_table_can_be_read_back(table: Table, tmp_path: Path) -> None:
    write_csv(table, tmp_path / "table.csv")
    told = pd.read_csv(tmp_path / "table.csv", dtype={"seeds": str})
    assert len(told) == len(list(table.lines())) == 9 + 4 + 4 + 1
    row = told[(told["recipe"] == "other") & (told["of"] == "seeds") & (told["arm"] == "decoupled")].iloc[0]
    line = line_of(table, "other", "decoupled", "seeds")
    assert line.score is not None and line.gain is not None
    assert [row["score"], row["low"], row["gain_high"]] == pytest.approx(
        [line.score.value, line.score.low, line.gain.high], abs=1e-6
    )
    assert row["seeds"] == row["gain_seeds"] == "0 2" and row["test_patients"] == 40


def test_a_partial_page_says_what_is_missing(table: Table) -> None:
    told = "\n".join(page(table))
    assert "**Not complete: 9 of 12 runs are finished.**" in told
    assert "×2 of 3" in told and "Published" not in told and "published" in told


class Full(Store):
    """A store that says it is all of PTB-XL."""

    def __init__(self, many: int, source: str, folds: Any):
        self.many, self.source = many, source
        self.title, self.synthetic, self.fingerprint = "PTB-XL 1.0.3", False, "0"
        self.counts = {"patients": 18_869}
        self.records = pd.DataFrame({"fold": pd.array(folds, dtype="Int64")})

    def __len__(self) -> int:
        return self.many


@pytest.mark.parametrize(
    ("many", "source", "folds", "told"),
    [
        (21_799, "ptbxl", range(1, 11), "PTB-XL 1.0.2 or 1.0.3"),
        (21_837, "ptbxl", range(1, 11), "PTB-XL 1.0.1"),
        (21_798, "ptbxl", range(1, 11), None),
        (21_799, "csv", range(1, 11), None),
        (21_799, "ptbxl", range(1, 10), None),
        (21_799, "ptbxl", [*range(1, 11), None], None),
    ],
)
def test_only_the_whole_of_ptbxl_compares(many: int, source: str, folds: Any, told: str | None) -> None:
    assert full_version(Full(many, source, folds)) == told


def test_published_figures_stand_beside_ours_on_the_full_set_only(
    truth: np.ndarray, tmp_path: Path, store: Store
) -> None:
    asked = tuple(
        Cell("all", "bilstm", arm, 0, {"backbone": {"name": "lstm_bidir"}, "head": {"name": arm}})
        for arm in ARMS
    )
    grid = Grid(Path("grid.toml"), "Trial", False, ARMS, asked)
    pages = []
    for where in (Full(21_799, "ptbxl", range(1, 11)), store):
        made = Table(grid, where, "", RESAMPLES)
        for one in asked:
            run = tmp_path / where.source / one.arm
            assert made.take(one, folder(run, truth, answers(truth, "one", one.arm, 0))) == ""
        pages.append("\n".join(page(made)))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in pages[0].splitlines()]
    assert ["", "", "Zhang et al. 2023", ".914 ±.003"] in rows  # lstm_bidir with the linear head, "all"
    assert ["", "", "Zhang et al. 2023", ".932 ±.001"] in rows  # decoupled
    assert ["", "", "Strodthoff et al. 2021", ".914 ±.008"] in rows
    assert ["S4, supervised", "", "Al-Masud et al. 2026", ".941"] in rows
    assert "Zhang" not in pages[1] and "not comparable with published figures" in pages[1]


def test_published_rows_agree_with_their_own_averages() -> None:
    """The paper states each row's mean over tasks, and each task's mean gain over the networks."""
    rows = {(row.source[:5], row.backbone, row.head): row.score for row in published()[0]}
    stated = {"lstm": (0.913, 0.920), "lstm_bidir": (0.917, 0.927), "fcn_wang": (0.911, 0.919)}
    stated |= {"resnet1d_wang": (0.920, 0.930), "inception1d": (0.922, 0.932), "xresnet1d101": (0.927, 0.934)}
    for backbone, means in stated.items():
        for arm, mean in zip(ARMS, means, strict=True):
            found = np.mean(list(rows["Zhang", backbone, arm].values()))
            assert found == pytest.approx(mean, abs=0.001), (backbone, arm)
    gains = {
        "all": 0.012,
        "diag": 0.010,
        "subdiag": 0.010,
        "superdiag": 0.005,
        "form": 0.010,
        "rhythm": 0.004,
    }
    over = {
        "all": 0.011,
        "diag": 0.005,
        "subdiag": 0.010,
        "superdiag": 0.004,
        "form": 0.004,
        "rhythm": -0.001,
    }
    for base, told in (("Zhang", gains), ("Strod", over)):
        for task, gain in told.items():
            each = [rows["Zhang", b, "decoupled"][task] - rows[base, b, "linear"][task] for b in stated]
            assert np.mean(each) == pytest.approx(gain, abs=0.0006), (base, task)


def test_the_columns_are_those_that_the_page_states(root: Path, table: Table, tmp_path: Path) -> None:
    write_csv(table, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    told = (root / "docs/bench.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in told] == []
