"""The contract of every miner."""

import random

import numpy as np
import pytest
import torch

from einthoven import parts
from einthoven.types import Batch, Distance, Miner, Outputs, Triplets

every = pytest.mark.parametrize("name", parts.names("miners"))
RECORDS = 24


class Table(Distance):
    """Made-up distances between rows 0 to 99 of a store."""

    def __init__(self) -> None:
        one = np.random.default_rng(0).random((100, 100), dtype=np.float32)
        self.table = np.triu(one, 1) + np.triu(one, 1).T

    def among(self, rows: np.ndarray) -> np.ndarray:
        assert len(set(rows.tolist())) == len(rows), "views of a record must cost nothing"
        return self.table[np.ix_(rows, rows)]


def made(name: str) -> Miner:
    part = parts.find("miners", name)
    own = {"distance": Table()} if "distance" in parts.signature(part)[1] else {}
    miner: Miner = part(**own)
    return miner


def target(miner: Miner, records: int = RECORDS) -> torch.Tensor:
    """Three numbers per record, or two labels of which some records have both and some none."""
    chance = torch.Generator().manual_seed(0)
    if "labels" in miner.serves:
        return (torch.rand(records, 2, generator=chance) < 0.5).float()
    return torch.randn(records, 3, generator=chance)


def batch(miner: Miner, records: int = RECORDS, views: int = 1) -> Batch:
    rows = torch.randperm(100, generator=torch.Generator().manual_seed(1))[:records]
    columns = {name: torch.randn(records) for name in miner.reads}
    ecg, patients = torch.zeros(records, 12, 4), torch.arange(records) // 3
    whole = Batch(ecg=ecg, row=rows, patient=patients, target=target(miner, records), columns=columns)
    return whole.take(torch.arange(records).repeat(views))


def told(rows: int) -> Outputs:
    chance = torch.Generator().manual_seed(2)
    return Outputs(embedding=torch.randn(rows, 3, generator=chance, requires_grad=True))


def mined(miner: Miner, asked: Batch, seed: int = 0) -> Triplets:
    torch.manual_seed(seed)
    triplets: Triplets = miner(told(len(asked.row)), asked)
    return triplets


def same(one: Triplets, other: Triplets) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@every
@pytest.mark.parametrize("views", [1, 3])
def test_gives_each_anchor_one_triplet_of_other_records(name: str, views: int) -> None:
    miner = made(name)
    asked = batch(miner, views=views)
    triplets = mined(miner, asked)
    for places in triplets:
        assert places.dtype == torch.int64 and not places.requires_grad
        assert len(places) == len(triplets.anchor) and places.min() >= 0 and places.max() < RECORDS * views
    assert len(triplets.anchor) > RECORDS * views / 2
    assert triplets.anchor.tolist() == sorted(set(triplets.anchor.tolist()))
    rows = [asked.row[places] for places in triplets]
    assert (rows[0] != rows[1]).all() and (rows[0] != rows[2]).all() and (rows[1] != rows[2]).all()


@every
def test_all_chance_is_torchs(name: str) -> None:
    miner = made(name)
    asked = batch(miner, views=2)
    random.seed(0)
    np.random.seed(0)
    once = mined(miner, asked)
    random.seed(1)
    np.random.seed(1)
    assert same(mined(miner, asked), once)
    assert not same(mined(miner, asked, seed=1), once)


@every
def test_finds_nothing_where_nothing_is_to_compare(name: str) -> None:
    miner = made(name)
    for asked in (batch(miner, 1), batch(miner, 1, views=4)):
        assert [len(places) for places in mined(miner, asked)] == [0, 0, 0]


@every
def test_unknown_labels_take_no_part(name: str) -> None:
    miner = made(name)
    asked = batch(miner)
    assert asked.target is not None
    if "unlabelled" in miner.serves:
        blind = Batch(asked.ecg, asked.row, asked.patient)
        return check_same(mined(miner, blind), mined(miner, asked))
    asked.target[5:9, 0] = torch.nan
    triplets = mined(miner, asked)
    assert len(triplets.anchor) and not {5, 6, 7, 8} & set(torch.cat(triplets).tolist())
    asked.target[:] = torch.nan
    assert [len(places) for places in mined(miner, asked)] == [0, 0, 0]


def check_same(one: Triplets, other: Triplets) -> None:
    assert same(one, other)


@every
def test_says_what_it_lacks(name: str) -> None:
    miner = made(name)
    asked = batch(miner)
    for wanted in miner.asks:
        with pytest.raises(ValueError, match=f"named '{wanted}': the heads of this recipe give "):
            miner(Outputs(features=torch.zeros(RECORDS, 3)), asked)
    if "unlabelled" not in miner.serves:
        for none in (None, torch.zeros(RECORDS, 0)):
            with pytest.raises(ValueError, match=r"no \[task\]"):
                mined(miner, Batch(asked.ecg, asked.row, asked.patient, target=none))


@every
def test_half_precision_around_it_changes_nothing(name: str) -> None:
    miner = made(name)
    asked = batch(miner)
    with torch.autocast("cpu", torch.bfloat16):
        half = mined(miner, asked)
    assert same(half, mined(miner, asked))
