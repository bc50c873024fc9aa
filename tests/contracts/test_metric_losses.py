"""The contract of every loss that compares the rows of a batch in the space of a projection."""

import inspect
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from einthoven import parts
from einthoven.types import Batch, Distance, Loss, Miner, Outputs, Triplets

NAMES = [name for name in parts.names("losses") if "embedding" in parts.find("losses", name).asks]
every = pytest.mark.parametrize("name", NAMES)
reading_labels = pytest.mark.parametrize("name", ["supcon", "rank_n_contrast", "metric"])

RECORD = torch.arange(4).repeat_interleave(2)  # two views of each of four records
PARTNER, STRANGER = torch.arange(8) ^ 1, (torch.arange(8) + 4) % 8


class Fixed(Miner):
    """Three lists of places."""

    def __init__(
        self, *, anchor: Sequence[int] = (), positive: Sequence[int] = (), negative: Sequence[int] = ()
    ):
        super().__init__()
        self.mined = Triplets(
            *(torch.tensor(places, dtype=torch.int64) for places in (anchor, positive, negative))
        )

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        return self.mined


class Line(Distance):
    """Records lie on a line, in the order of their number; or nobody knows where (NaN)."""

    def __init__(self, *, known: bool = True):
        self.step = 1.2 if known else float("nan")

    def among(self, rows: np.ndarray) -> np.ndarray:
        return (self.step * np.abs(rows[:, None] - rows)).astype(np.float32)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_miners")
    module.Fixed, module.Line = Fixed, Line  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_miners", module)


def built(name: str, *places: Tensor, **options: Any) -> Loss:
    """A loss, with triplets if it cannot do without a miner."""
    table: dict[str, Any] = {"name": name} | options
    asked = parts.signature(parts.find("losses", name))[1]
    if "distance" in asked and asked["distance"].annotation is Distance:
        table["distance"] = {"name": "my_miners:Line", "known": bool(places)}
    miner = asked.get("miner")
    if miner and miner.default is inspect.Parameter.empty:
        mined = {key: place.tolist() for key, place in zip(Triplets._fields, places, strict=False)}
        table["miner"] = {"name": "my_miners:Fixed"} | mined
    loss: Loss = parts.build("losses", table, labels=1, exclusive=False)
    return loss


def batch(name: str, record: Tensor = RECORD) -> Batch:
    """Views of records; two classes of them, or a number for each."""
    number = record if name == "rank_n_contrast" else record // 2
    empty = torch.zeros(len(record), 12, 4)
    return Batch(ecg=empty, row=record, patient=record, target=number[:, None].float())


def arc(angle: Tensor) -> Tensor:
    return 2 * torch.stack([angle.cos(), angle.sin(), 0.1 * angle], 1)


def ordered(shift: float = 0.03) -> Tensor:
    """Views next to each other, records in the order of their number."""
    return arc(0.6 * RECORD + shift * torch.arange(8))


def score(loss: Loss, embedding: Tensor, some: Batch) -> Tensor:
    value: Tensor = loss(Outputs(embedding=embedding), some)
    return value


@every
def test_nothing_known_or_mined_is_zero_with_a_gradient(name: str) -> None:
    alone = torch.arange(8)
    nobody = Batch(ecg=torch.zeros(8, 12, 4), row=alone, patient=alone, target=torch.full((8, 1), torch.nan))
    loss, embedding = built(name), ordered().requires_grad_()
    value = score(loss, embedding, nobody)
    value.backward()
    assert value.item() == 0
    assert embedding.grad is not None and not embedding.grad.any()
    assert all(weight.grad is not None for weight in loss.parameters())


@every
def test_weights_that_should_not_decay_are_its_own(name: str) -> None:
    loss = built(name)
    assert set(getattr(loss, "undecayed", ())) <= {key for key, _ in loss.named_parameters(recurse=False)}
    assert ("beta" in getattr(loss, "undecayed", ())) == (name == "margin")


@every
def test_one_row_has_nobody(name: str) -> None:
    value = score(built(name), ordered()[:1].requires_grad_(), batch(name, RECORD[:1]))
    value.backward()
    assert value.item() == 0


@every
def test_the_order_of_a_batch_does_not_matter(name: str) -> None:
    order = torch.randperm(8)
    place = order.argsort()
    embedding = torch.randn(8, 5)
    value = score(built(name, torch.arange(8), PARTNER, STRANGER), embedding, batch(name))
    moved = built(name, place, place[PARTNER], place[STRANGER])
    torch.testing.assert_close(score(moved, embedding[order], batch(name).take(order)), value)
    assert value > 0


@every
def test_is_computed_in_float32_where_the_network_is_not(name: str) -> None:
    loss = built(name, torch.arange(8), PARTNER, STRANGER)
    half = torch.randn(8, 5).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = score(loss, half, batch(name))
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, score(loss, half.detach().float(), batch(name)))
    assert half.grad is not None and half.grad.isfinite().all() and half.grad.any()


@every
def test_a_space_in_order_scores_better_than_one_in_disorder(name: str) -> None:
    loss = built(name, torch.arange(8), PARTNER, STRANGER)
    disorder = torch.tensor([0, 4, 1, 5, 6, 2, 7, 3])
    good, bad = (score(loss, space, batch(name)) for space in (ordered(), ordered()[disorder]))
    assert good < 0.9 * bad


@every
def test_copies_have_a_gradient_that_is_finite(name: str) -> None:
    loss = built(name, torch.arange(8), PARTNER, STRANGER)
    same = torch.ones(8, 3, requires_grad=True)
    score(loss, same, batch(name)).backward()
    assert same.grad is not None and same.grad.isfinite().all()


@every
def test_asks_for_an_embedding(name: str) -> None:
    loss = built(name, torch.arange(8), PARTNER, STRANGER)
    with pytest.raises(ValueError, match="named 'embedding': the heads of this recipe give logits"):
        loss(Outputs(logits=torch.zeros(8, 1)), batch(name))


@reading_labels
def test_unknown_rows_take_no_part(name: str) -> None:
    embedding, full = torch.randn(8, 5), batch(name)
    assert full.target is not None
    full.target[[2, 5]] = torch.nan
    kept = torch.tensor([0, 1, 3, 4, 6, 7])
    alone = score(built(name), embedding[kept], full.take(kept))
    torch.testing.assert_close(score(built(name), embedding, full), alone)
    assert alone > 0


@pytest.mark.parametrize("name", ["supcon", "rank_n_contrast"])
@pytest.mark.parametrize("target", [None, torch.zeros(8, 0)])
def test_labels_that_are_needed_and_not_there_are_one_line(name: str, target: Tensor | None) -> None:
    bare = Batch(ecg=torch.zeros(8, 12, 4), row=RECORD, patient=RECORD, target=target)
    with pytest.raises(ValueError, match=r"\[task\]"):
        score(built(name), ordered(), bare)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("supcon", "rank_n_contrast")])
@pytest.mark.parametrize("target", [None, torch.zeros(8, 0)])
def test_the_others_learn_without_labels(name: str, target: Tensor | None) -> None:
    bare = Batch(ecg=torch.zeros(8, 12, 4), row=RECORD, patient=RECORD, target=target)
    loss = built(name, torch.arange(8), PARTNER, STRANGER)
    assert "unlabelled" in loss.serves
    embedding = torch.randn(8, 5, requires_grad=True)
    score(loss, embedding, bare).backward()
    assert embedding.grad is not None and embedding.grad.any()


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("triplet", {"margin": -0.1}),
        ("margin", {"beta": 0.0}),
        ("angular", {"alpha": 90.0}),
        ("n_pair", {"size": -1.0}),
        ("nt_xent", {"temperature": 0.0}),
        ("nt_xent", {"same": "target"}),
        ("supcon", {"temperature": -1.0}),
        ("rank_n_contrast", {"distance": "cosine"}),
    ],
)
def test_options_that_cannot_be_are_one_line(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        built(name, **wrong)
