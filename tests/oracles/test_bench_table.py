"""The figures of a bench against slow loops from the definition, and against `paired`."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cohorts import store_of
from einthoven.bench.asked import Cell
from einthoven.bench.grid import Grid
from einthoven.bench.published import full_version, published
from einthoven.bench.spell import figure
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
    results = {
        "model": {"parameters": 9, "steps": 5},
        "counts": sizes,
        "task": {"labels": LABELS, "kind": "labels"},
    }
    results |= {
        "test": {"auroc": {"undefined": ["rare"]}},
        "validation": {"auroc": {"macro": {"value": float(score[0, 0])}}},
    }
    (run / "results.json").write_text(json.dumps(results))
    versions = {"einthoven": "0", "torch": "0"}
    told = {"versions": versions, "git": None, "device": "cpu", "seconds": {"train": 2.0, "answers": 1.0}}
    (run / "environment.json").write_text(json.dumps(told))
    (run / "log.csv").write_text("seconds,records_per_second\n1,30\n3,10\n")
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


def test_the_validation_figure_is_the_mean_over_seeds(table: Table, truth: np.ndarray) -> None:
    lines = [line for line in table.lines() if line.recipe == "one" and line.arm == "linear"]
    told = [answers(truth, "one", "linear", seed)[0, 0] for seed in (0, 1, 2)]
    assert [line.validation for line in lines if line.of == "run"] == pytest.approx(told)
    assert [line.validation for line in lines if line.of == "seeds"] == [pytest.approx(np.mean(told))]
    text = "\n".join(page(table))
    assert figure(float(np.mean(told))) in text.partition("## Validation")[2]


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
    assert table.members("kinds") == (("one", "other"), (0,))  # seed 2: "one" has no decoupled run
    for arm in ARMS:
        line = line_of(table, "ensemble", arm, "seeds")
        mean = (answers(truth, "one", arm, 0) + answers(truth, "other", arm, 0)) / 2
        assert line.score is not None and line.score.value == pytest.approx(by_hand(truth, mean), abs=1e-12)
        assert (line.gain is None) == (arm == "linear")


def test_an_ensemble_has_one_size(store: Store, truth: np.ndarray, tmp_path: Path) -> None:
    """Seed 0 has three networks, seeds 1 to 3 have two of them: a mean over all would mix sizes."""
    there = {"one": (0, 1, 2, 3), "other": (0, 1, 2), "third": (0,)}
    cells = tuple(cell(name, "linear", seed) for name in there for seed in range(4))
    made = Table(Grid(Path("grid.toml"), "Trial", True, ("linear",), cells), store, "", RESAMPLES)
    for name in ("one", "other", "third"):
        for seed in there[name]:
            run = folder(tmp_path / f"{name}{seed}", truth, answers(truth, name, "linear", seed))
            assert made.take(cell(name, "linear", seed), run) == ""
        if name == "other":
            assert made.members("kinds") == (("one", "other"), (0, 1, 2))
            assert line_of(made, "ensemble", "linear", "seeds").seeds == (0, 1, 2)
    assert made.members("kinds") == (("one", "other", "third"), (0,))
    line = line_of(made, "ensemble", "linear", "seeds")
    assert line.seeds == (0,) and np.isnan(line.sd)
    assert "* kinds, seed 0: one, other, third" in "\n".join(page(made))


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("environment.json", None, "environment.json is missing"),
        ("environment.json", "{}", "environment.json lacks something: 'seconds'"),
        ("log.csv", None, "log.csv is missing"),
        ("log.csv", "seconds,records_per_second\n1,x\n", "log.csv cannot be read"),
        ("results.json", "", "results.json cannot be read"),
        ("results.json", "[]", "results.json lacks something"),
        ("predictions.parquet", None, "predictions.parquet is missing"),
        ("predictions.parquet", "torn", "predictions.parquet cannot be read"),
    ],
)
def test_a_damaged_run_is_named_with_the_remedy(
    store: Store, truth: np.ndarray, tmp_path: Path, file: str, text: str | None, told: str
) -> None:
    asked = cell("one", "linear", 0)
    made = Table(Grid(Path("grid.toml"), "Trial", False, ARMS, (asked,)), store, "", RESAMPLES)
    run = folder(tmp_path / "run", truth, answers(truth, "one", "linear", 0))
    (run / file).unlink() if text is None else (run / file).write_text(text)
    reason = made.take(asked, run)
    assert reason.startswith(f"{run} is damaged ({told}")
    assert reason.endswith("remove it, and the same command trains it again.") and not made.finished


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
    assert row["seeds"] == row["gain_seeds"] == "0 2" and row["test_records"] == 80
    assert (row["labels"], row["scored"]) == (3, 2)  # of three labels, one is undefined in the test split


def test_a_partial_page_says_what_is_missing(table: Table) -> None:
    told = "\n".join(page(table))
    assert "**Not complete: 9 of 12 runs are finished.**" in told
    assert "×2 of 3" in told and "Published" not in told and "published" in told


def test_a_page_explains_gains_once_and_counts_what_is_scored(table: Table) -> None:
    told = "\n".join(page(table))
    assert told.count("resamples of the") == 1 and "number of comparisons (here 4)" in told
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()]
    assert ["task", "labels", "scored", "train", "validation", "test"] in rows
    assert ["kinds", "3", "2", "80", "80", "80"] in rows


def test_patients_are_claimed_only_where_they_are_known(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store names no patients, so each record counts as one of its own."""
    told = "\n".join(page(table))
    assert "20 records:" in told and "Patients are unknown: each record counts as one of its own." in told
    assert "resamples of the test records (patients are unknown)" in told and "patients)" not in told
    write_csv(table, tmp_path / "table.csv")
    assert pd.read_csv(tmp_path / "table.csv")["test_patients"].isna().all()
    monkeypatch.setattr("einthoven.bench.table.patients_named", lambda records: True)
    told = "\n".join(page(table))
    assert "20 records of 20 patients" in told and "resamples of the test patients" in told
    assert "## Records (patients)" in told and " 80 (40) " in told and "unknown" not in told


class Full(Store):
    """A store that says it is all of PTB-XL."""

    def __init__(self, many: int, source: str, folds: Any):
        self.many, self.source = many, source
        self.title, self.synthetic, self.fingerprint = "PTB-XL 1.0.3", False, "0"
        self.counts = {"patients": 18_869}
        self.records = pd.DataFrame({"fold": pd.array(folds, dtype="Int64")})
        self.records["record_id"] = [f"r{i}" for i in range(len(self.records))]
        self.records["patient_id"] = "p"

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


FULL = Full(21_799, "ptbxl", range(1, 11))


def published_rows(
    truth: np.ndarray, run: Path, made: Mapping[str, Any], where: Store = FULL
) -> list[list[str]]:
    """The rows below the heading of published figures: a network with two arms, and a third that is wide."""
    cells = []
    for arm, more in (("linear", {}), ("decoupled", {}), ("wide", {"width": 4})):
        head = {"name": "decoupled" if arm == "decoupled" else "linear"}
        recipe = {"backbone": {"name": "lstm_bidir"} | more, "head": head, "train": {"epochs": 50}}
        cells.append(Cell("all", "bilstm", arm, 0, recipe | {"task": {"name": "all"}} | dict(made)))
    grid = Grid(Path("grid.toml"), "Trial", False, tuple(one.arm for one in cells), tuple(cells))
    table = Table(grid, where, "", RESAMPLES)
    for one in cells:
        score = answers(truth, "one", one.arm if one.arm in ARMS else "linear", 0)
        assert table.take(one, folder(run / one.arm, truth, score)) == ""
    told = "\n".join(page(table)).partition("## Beside published figures")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if "|" in line]


def test_published_figures_stand_below_the_network_that_they_are_of(
    truth: np.ndarray, tmp_path: Path
) -> None:
    rows = published_rows(truth, tmp_path, {})
    assert [row[1:3] for row in rows[2:]] == [
        ["linear", "**here**"],
        ["", "Zhang et al. 2023"],
        ["", "Strodthoff et al. 2021"],
        ["decoupled", "**here**"],
        ["", "Zhang et al. 2023"],
        ["wide", "**here**"],  # its backbone is not the benchmark's
        ["", "Strodthoff et al. 2021"],
        ["", "Al-Masud et al. 2026"],
    ]
    assert [row[3] for row in rows[3:5]] == [".914 ±.003", ".914 ±.008"]
    assert rows[6][3] == ".932 ±.001" and rows[-1][::3] == ["S4, supervised", ".941"]


@pytest.mark.parametrize(
    ("made", "beside"),
    [
        ({"split": {"by": "fold", "test": [10]}}, 3),
        ({"split": {"by": "auto", "train": [8, 7, 6, 5, 4, 3, 2, 1]}}, 3),
        ({"split": {"by": "fold", "test": [1], "train": [2, 3, 4, 5, 6, 7, 8, 10]}}, None),
        ({"split": {"by": "patient"}}, None),
        ({"train": {"epochs": 4}}, 0),
        ({"task": {"name": "all", "flip": 0.1}}, 0),
        ({"head": [{"name": "linear"}, {"name": "concepts"}]}, 0),
        ({"backbone": {"name": "s4d"}}, 0),
    ],
)
def test_what_was_learned_otherwise_has_no_published_row(
    truth: np.ndarray, tmp_path: Path, made: Mapping[str, Any], beside: int | None
) -> None:
    rows = published_rows(truth, tmp_path, made)
    same = [row for row in rows[2:] if row[2] != "**here**" and not row[0]]
    assert len(same) == (beside or 0) and (rows == []) == (beside is None)


def test_nothing_is_published_of_a_part(truth: np.ndarray, tmp_path: Path) -> None:
    assert published_rows(truth, tmp_path, {}, Full(2_846, "ptbxl", range(1, 11))) == []


def test_published_spreads_are_as_printed() -> None:
    """Zhang et al. 2023, table of macro AUCs: thousandths in brackets, all to rhythm."""
    printed = {
        ("lstm", "linear"): (2, 2, 2, 0, 6, 3),
        ("lstm", "decoupled"): (1, 2, 3, 0, 6, 1),
        ("lstm_bidir", "linear"): (3, 4, 2, 1, 8, 1),
        ("lstm_bidir", "decoupled"): (1, 3, 1, 1, 11, 1),
        ("fcn_wang", "linear"): (1, 0, 2, 0, 9, 6),
        ("fcn_wang", "decoupled"): (1, 3, 3, 1, 3, 1),
        ("resnet1d_wang", "linear"): (1, 5, 3, 0, 7, 2),
        ("resnet1d_wang", "decoupled"): (0, 2, 0, 0, 6, 1),
        ("inception1d", "linear"): (2, 0, 0, 3, 6, 3),
        ("inception1d", "decoupled"): (1, 2, 2, 1, 9, 1),
        ("xresnet1d101", "linear"): (2, 2, 1, 0, 6, 1),
        ("xresnet1d101", "decoupled"): (2, 1, 2, 2, 4, 0),
    }
    told = {
        (row.backbone, row.head): tuple(round(1000 * x) for x in row.spread.values())
        for row in published()[0]
        if row.source.startswith("Zhang")
    }
    assert told == printed


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
