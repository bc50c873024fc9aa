"""Batches: pure functions of a number, in the form that a model wants."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cohorts import store_of
from einthoven.data.loader import Loader, Reader, Windows
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Signal
from einthoven.samplers.shuffled import Shuffled


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [{"y": i % 2, "z": float(i), "patient": i // 2} for i in range(20)]
    return store_of(tmp_path_factory.mktemp("loader") / "store", rows, seconds=4)


def loader(store: Store, wants: Signal, seed: int = 0, **how: object) -> Loader:
    sampler = Shuffled(torch.arange(4, 20), 5, seed)
    return Loader(Reader(store, wants, **how), sampler, seed, wants.samples)


def test_a_batch_is_a_function_of_seed_and_number(store: Store) -> None:
    wants = Signal(seconds=1.5)
    one, two = loader(store, wants), loader(store, wants)
    ahead = list(zip(range(7), two.stream(3), strict=False))
    for number, batch in ahead:
        assert torch.equal(batch.ecg, one[number + 3].ecg) and torch.equal(batch.row, one[number + 3].row)
    assert not torch.equal(loader(store, wants, seed=1)[3].ecg, one[3].ecg)


def test_a_batch_holds_windows_of_its_records_in_millivolts(store: Store) -> None:
    targets = np.arange(20, dtype=np.float32)[:, None]
    batch = loader(store, Signal(seconds=1.5), targets=targets, columns=("z",))[0]
    assert batch.ecg.shape == (5, 12, 150) and batch.leads is None
    for i, row in enumerate(batch.row.tolist()):
        whole = store.read(np.array([row]))[0]
        starts = [s for s in range(251) if np.array_equal(whole[:, s : s + 150], batch.ecg[i].numpy())]
        assert len(starts) == 1
    assert torch.equal(batch.target[:, 0], batch.row.float())
    assert torch.equal(batch.columns["z"], batch.row.float())
    assert torch.equal(batch.patient, batch.row // 2)


def test_every_start_is_drawn_the_last_one_too(store: Store) -> None:
    made = loader(store, Signal(seconds=3.99))
    firsts = {tuple(made[n].ecg[i, 0, :2].tolist()) for n in range(40) for i in range(5)}
    assert len(firsts) == 32  # two places for each of sixteen records


def test_leads_and_rate_are_what_the_model_wants(store: Store) -> None:
    wants = Signal(leads=("V5", "II"), seconds=2.0)
    reader, rows = Reader(store, wants), np.array([3, 1])
    ecg = reader.ecg(rows, np.array([10, 20]), 200)
    whole = store.read(rows)
    assert np.array_equal(ecg[0], whole[0, [LEADS.index("V5"), 1], 10:210])
    slow = Reader(store, Signal(hertz=50, seconds=2.0))
    assert slow.ecg(rows, np.array([0, 5]), 100).shape == (2, 12, 100)
    assert slow.spans(rows)[1].tolist() == [200, 200]


def test_records_that_are_too_short_are_known(tmp_path: Path) -> None:
    short = store_of(tmp_path / "store", [{"y": 0}, {"y": 1}], seconds=2)
    assert Reader(short, Signal(seconds=2.0)).long_enough(np.arange(2)).all()
    assert not Reader(short, Signal(seconds=2.01)).long_enough(np.arange(2)).any()


@pytest.mark.parametrize(
    ("stride", "starts"), [(1.0, [0, 100, 200, 250]), (1.25, [0, 125, 250]), (9.0, [0, 250])]
)
def test_windows_cover_the_record_to_its_end(store: Store, stride: float, starts: list[int]) -> None:
    windows = Windows(Reader(store, Signal(seconds=1.5)), stride)
    assert windows.of(0, 400) == starts
    seen = [(p, len(batch.ecg)) for p, batch in windows.batches(np.array([7, 8, 9]), size=2)]
    assert sum(n for _, n in seen) == 3 * len(starts)
    assert np.concatenate([p for p, _ in seen]).tolist() == np.repeat([0, 1, 2], len(starts)).tolist()


def test_the_benchmark_has_seven_windows(store: Store) -> None:
    assert Windows(Reader(store, Signal(seconds=2.5)), 1.25).of(0, 1000) == list(range(0, 751, 125))
