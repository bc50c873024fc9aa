"""Long jobs say how far they are: every record is told once, and only those that a job looks at are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohorts import store_of
from einthoven import python
from einthoven.data.loader import Reader, Windows
from einthoven.data.store import Store
from einthoven.ecg import LEADS
from einthoven.results import read_results
from einthoven.run import Progress, train

PROBE: dict[str, Any] = {
    "task": {"column": "big"},
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 8, "freeze": True},
    "head": {"name": "probe"},
    "loss": {"name": "bce"},
    "train": {"solver": "probe"},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
}
QUICK = {"resamples": 20, "permutations": 19, "starts": 2}


class Heard(list[tuple[int, int]]):
    """What a listener heard."""

    def __call__(self, done: int, total: int) -> None:
        """Note it."""
        self.append((done, total))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [{"big": i % 3 == 0, "patient": i} for i in range(60)]
    return store_of(tmp_path_factory.mktemp("heard") / "store", rows, signal=True)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(PROBE, store.path, tmp_path_factory.mktemp("heard") / "run")


def records(run: Path, *splits: str) -> int:
    return sum(read_results(run)["counts"][split]["records"] for split in splits)


@pytest.mark.parametrize(
    ("what", "options", "splits", "networks"),
    [
        ("knn", {}, ("train", "validation", "test"), 2),
        ("cluster", {}, ("test",), 2),
        ("separability", {"untrained": False}, ("test",), 1),
        ("leads", {"untrained": False, "leads": "II,I"}, ("train", "validation", "test", "test"), 3),
    ],
)
def test_an_evaluation_counts_the_records_that_it_reads(
    store: Store, run: Path, tmp_path: Path, what: str, options: Any, splits: Any, networks: int
) -> None:
    heard = Heard()
    out = tmp_path / "told.json"
    python.evaluate(what, run, store.path, out=out, options=QUICK | options, progress=heard)
    total = records(run, *splits) * networks
    assert heard[-1] == (total, total)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})


def test_clusters_are_the_same_whatever_else_is_read(store: Store, run: Path, tmp_path: Path) -> None:
    told = {
        what: python.evaluate(what, run, store.path, out=tmp_path / f"{what}.json", options=QUICK)[0]
        for what in ("cluster", "all")
    }
    of_all = [row for row in told["all"]["rows"] if row["job"] in {r["job"] for r in told["cluster"]["rows"]}]
    assert told["cluster"]["rows"] == of_all != []
    assert told["cluster"]["counts"] == told["all"]["counts"]


def test_embedding_and_answering_are_counted(store: Store, run: Path, tmp_path: Path) -> None:
    embedding, answering = Heard(), Heard()
    python.embed(run, store.path, progress=embedding)
    assert embedding[-1] == (len(store), len(store))
    for name in ("a", "b"):
        np.savetxt(
            tmp_path / f"{name}.csv", np.zeros((1000, 12)), delimiter=",", header=",".join(LEADS), comments=""
        )
    options = {"hertz": 100, "units": "mV"}
    python.predict(run, [tmp_path / "a.csv", tmp_path / "b.csv"], options, progress=answering)
    assert answering == [(1, 0), (2, 0)]


def test_a_probe_says_what_it_has_read(store: Store, tmp_path: Path) -> None:
    seen: list[Progress] = []
    run = train(PROBE, store.path, tmp_path / "run", watch=seen.append)
    reading = [(now.step, now.steps) for now in seen if now.what == "reading features"]
    assert reading[-1] == (records(run, "train", "validation"),) * 2


def test_a_record_is_told_when_its_last_window_is_done(store: Store, run: Path) -> None:
    told: list[int] = []
    windows = Windows(Reader(store, python.load(run).wants), 0.25, told.append)
    for place, _ in windows.batches(np.arange(10), size=4):
        assert sum(told) == place[0]  # of which there may have been windows before, but not all
    assert sum(told) == 10
    assert len(told) > 3
