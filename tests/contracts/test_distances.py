"""The contract of every distance between raw ECGs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohorts import heartbeat
from einthoven import parts
from einthoven.data.signal import resample
from einthoven.ecg import Signals
from einthoven.types import Distance
from einthoven.warp import matrix, memo
from einthoven.warp.matrix import write_matrix

every = pytest.mark.parametrize("name", parts.names("distances"))
COUNT = 40


class Held(Signals):
    """ECGs in memory, at 100 Hz; counts what is read."""

    def __init__(self, ecg: np.ndarray, fingerprint: str = "abc"):
        self.ecg, self.fingerprint, self.reads = ecg, fingerprint, 0
        self.records = [f"record-{row}" for row in range(len(ecg))]

    def read(self, rows: np.ndarray, hertz: float) -> np.ndarray:
        self.reads += len(rows)
        return resample(self.ecg[rows], 100.0, hertz)


@pytest.fixture(scope="module")
def signals() -> Held:
    rng = np.random.default_rng(0)
    ecg = np.stack([heartbeat(rng, seconds=2.0) for _ in range(COUNT)])
    ecg[7] = ecg[3]  # the same ECG twice
    return Held(ecg)


@pytest.fixture
def made(signals: Held, tmp_path: Path) -> Any:
    """Build a distance; what it needs on disk is there."""

    def make(name: str) -> Distance:
        options = {}
        if name == "precomputed":
            dtw = parts.build("distances", {"name": "dtw"}, signals=signals)
            write_matrix(tmp_path, dtw, all_rows(), signals)
            options = {"path": str(tmp_path)}
        if name == "surrogate":  # equal vectors for equal ECGs
            vectors = pd.DataFrame(signals.ecg[:, :, 100], columns=[f"x{lead}" for lead in range(12)])
            vectors.assign(record_id=signals.records).to_parquet(tmp_path / "vectors.parquet")
            options = {"path": str(tmp_path / "vectors.parquet")}
        distance: Distance = parts.build("distances", {"name": name} | options, signals=signals)
        return distance

    return make


def all_rows() -> np.ndarray:
    return np.arange(COUNT)


@every
def test_is_symmetric_zero_to_itself_and_above_zero(name: str, made: Any) -> None:
    apart = made(name).among(all_rows())
    assert apart.dtype == np.float32 and apart.shape == (COUNT, COUNT)
    assert np.array_equal(apart, apart.T)
    assert not apart.diagonal().any()
    same = np.eye(COUNT, dtype=bool)
    same[3, 7] = same[7, 3] = True
    assert (apart[~same] > 1e-3).all() and apart[3, 7] < 1e-4


@every
def test_the_order_and_the_parts_asked_before_change_nothing(name: str, made: Any) -> None:
    """Batches are shuffled; what a batch is told must not depend on those before."""
    whole = made(name).among(all_rows())
    distance, rng = made(name), np.random.default_rng(1)
    for size in (1, 5, 17, 23, 40, 40):
        rows = rng.permutation(COUNT)[:size]
        np.testing.assert_allclose(distance.among(rows), whole[np.ix_(rows, rows)], rtol=1e-6, atol=1e-6)
    twice = np.array([4, 9, 4, 30])  # two views of one record
    np.testing.assert_allclose(distance.among(twice), whole[np.ix_(twice, twice)], rtol=1e-6, atol=1e-6)


@every
def test_what_was_asked_before_is_not_read_again(name: str, made: Any, signals: Held) -> None:
    distance = made(name)
    distance.among(np.arange(20))
    before = signals.reads
    distance.among(np.arange(5, 20)[::-1].copy())
    assert signals.reads == before
    distance.among(np.array([3, 25]))
    assert signals.reads - before <= 2


@every
def test_a_large_store_is_compared_without_a_memory(
    name: str, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = made(name).among(np.array([5, 1, 9]))
    monkeypatch.setattr(memo, "MOST", 10)
    np.testing.assert_allclose(made(name).among(np.array([5, 1, 9])), expected, rtol=1e-6)


@every
def test_one_record_is_no_pair(name: str, made: Any) -> None:
    assert np.array_equal(made(name).among(np.array([8])), [[0]])
    assert made(name).among(np.zeros(0, np.int64)).shape == (0, 0)


@every
def test_without_its_store_it_can_be_built_but_not_asked(name: str) -> None:
    distance = parts.build("distances", {"name": name})
    with pytest.raises(ValueError, match="known in training only"):
        distance.among(np.arange(3))


def test_euclidean_and_l1_by_their_definitions(signals: Held, made: Any) -> None:
    ecg = signals.read(all_rows(), 25.0).astype(np.float64)
    gaps = ecg[:, None] - ecg[None]
    np.testing.assert_allclose(
        made("euclidean").among(all_rows()), np.sqrt(np.square(gaps).sum((2, 3))), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(made("l1").among(all_rows()), np.abs(gaps).mean((2, 3)), rtol=1e-5)


def test_euclidean_of_nearly_equal_ecgs_keeps_its_digits() -> None:
    ecg = np.stack([heartbeat(np.random.default_rng(2), seconds=2.0)] * 3) + 5
    ecg[1, 4, 17] += 1e-4
    ecg[2, 0, 3] -= 2e-4
    apart = parts.build("distances", {"name": "euclidean", "hertz": 100.0}, signals=Held(ecg)).among(
        np.arange(3)
    )
    gaps = ecg[:, None].astype(np.float64) - ecg[None]
    np.testing.assert_allclose(apart, np.sqrt(np.square(gaps).sum((2, 3))), rtol=1e-5)


@every
def test_options_are_checked(name: str, signals: Held, tmp_path: Path) -> None:
    if "path" in parts.signature(parts.find("distances", name))[1]:
        with pytest.raises(ValueError, match="needs `path`"):
            parts.build("distances", {"name": name}, signals=signals)
        with pytest.raises(ValueError, match="einthoven (distances|embed)"):
            parts.build("distances", {"name": name, "path": str(tmp_path)}, signals=signals)
        return
    with pytest.raises(ValueError, match="rate above 0 Hz, got hertz = 0"):
        parts.build("distances", {"name": name, "hertz": 0.0}, signals=signals)


def test_a_missing_sample_is_one_line(signals: Held) -> None:
    ecg = signals.ecg[:4].copy()
    ecg[2, 1, 5] = np.nan
    for name in ("dtw", "euclidean", "l1"):
        distance = parts.build("distances", {"name": name, "hertz": 100.0}, signals=Held(ecg))
        with pytest.raises(ValueError, match="ECG 2 of those to compare .*missing samples"):
            distance.among(np.arange(4))


def test_what_was_computed_for_another_store_or_other_rows_is_refused(signals: Held, tmp_path: Path) -> None:
    dtw = parts.build("distances", {"name": "dtw", "band": 0.1}, signals=signals)
    rows = np.array([9, 2, 5, 30])
    write_matrix(tmp_path, dtw, rows, signals)
    table = {"name": "precomputed", "path": str(tmp_path)}
    known = parts.build("distances", table, signals=signals)
    np.testing.assert_array_equal(known.among(rows), dtw.among(rows))
    assert known.matrix.facts["distance"] == {"name": "dtw", "hertz": 25.0, "band": 0.1, "device": "cpu"}
    with pytest.raises(ValueError, match="no distances of record 'record-3'"):
        known.among(np.array([9, 3]))
    with pytest.raises(ValueError, match="of store abc, this is store xyz: make them anew"):
        parts.build("distances", table, signals=Held(signals.ecg, "xyz"))


def test_a_matrix_is_made_in_blocks(signals: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BLOCK", 7)
    dtw = parts.build("distances", {"name": "dtw"}, signals=signals)
    heard: list[tuple[int, int]] = []
    write_matrix(tmp_path, dtw, all_rows()[::-1].copy(), signals, progress=lambda *at: heard.append(at))
    assert heard[-1] == (780, 780) and heard == sorted(heard)
    fresh = parts.build("distances", {"name": "dtw"}, signals=signals).among(all_rows())
    np.testing.assert_array_equal(np.load(tmp_path / "matrix.npy"), fresh)


def test_a_matrix_is_whole_or_not_there(signals: Held, tmp_path: Path) -> None:
    class Broken(Distance):
        def among(self, rows: np.ndarray) -> np.ndarray:
            raise KeyboardInterrupt

    l1 = parts.build("distances", {"name": "l1"}, signals=signals)
    write_matrix(tmp_path, l1, np.arange(3), signals)
    with pytest.raises(KeyboardInterrupt):
        write_matrix(tmp_path, Broken(), np.arange(3), signals)
    with pytest.raises(ValueError, match="no finished distances"):
        parts.build("distances", {"name": "precomputed", "path": str(tmp_path)}, signals=signals)


@pytest.mark.parametrize("name", ["precomputed", "surrogate"])
def test_a_damaged_file_is_one_line(name: str, signals: Held, tmp_path: Path) -> None:
    write_matrix(tmp_path, parts.build("distances", {"name": "dtw"}, signals=signals), all_rows(), signals)
    (tmp_path / "matrix.npy").write_bytes((tmp_path / "matrix.npy").read_bytes()[:200])
    (tmp_path / "vectors.parquet").write_text("broken")
    path = tmp_path / "vectors.parquet" if name == "surrogate" else tmp_path
    with pytest.raises(ValueError, match=r"(matrix.npy|vectors.parquet) cannot be read: make"):
        parts.build("distances", {"name": name, "path": str(path)}, signals=signals)
