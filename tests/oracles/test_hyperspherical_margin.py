"""Hyperspherical margin weighting against its definition, and against labels that are known to be wrong."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cohorts import store_of
from einthoven import parts
from einthoven.checkpoint import passing, read
from einthoven.heads.cosine import Cosine
from einthoven.losses.hyperspherical_margin import HypersphericalMargin
from einthoven.predict import load
from einthoven.run import Progress, train
from einthoven.types import Batch, Outputs, Tokens

NAN = math.nan


def batch(target: Tensor, row: Tensor | None = None) -> Batch:
    row = torch.arange(len(target)) if row is None else row
    return Batch(ecg=torch.zeros(len(target), 12, 1), row=row, patient=row, target=target)


def draw(records: int, labels: int, seed: int = 0) -> Tensor:
    """Cosines of a size that leaves the sigmoid of 100 times their difference unsaturated."""
    return 0.03 * torch.randn(records, labels, generator=torch.Generator().manual_seed(seed))


def one_hot(classes: Sequence[int], count: int) -> Tensor:
    return F.one_hot(torch.tensor(classes), count).float()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def of_class(cosine: Sequence[float], own: int, sharpness: float = 100) -> float:
    """The weight as section A10 writes it."""
    distance = [(1 - c) / 2 for c in cosine]
    others = sorted(d for c, d in enumerate(distance) if c != own)
    first = sigmoid(sharpness * (others[0] - distance[own]))
    if len(others) == 1:
        return first
    k = max(int(0.01 * (len(cosine) - 2)), 1)
    second = sum(others[1 : 1 + k]) / k
    return 0.5 * (first + math.exp(sharpness * (others[0] - second)))


def of_label(cosine: float, present: bool, sharpness: float) -> float:
    near, far = (1 - cosine) / 2, (1 + cosine) / 2
    own, other = (near, far) if present else (far, near)
    return sigmoid(sharpness * (other - own))


@pytest.mark.parametrize("classes", [2, 3, 5, 302])
def test_the_weight_of_a_class_by_a_slow_loop(classes: int) -> None:
    cosine, own = draw(6, classes), [i * 7 % classes for i in range(6)]
    loss = HypersphericalMargin(classes, True)
    weight = loss.weigh(cosine, one_hot(own, classes), torch.arange(6))
    told = [of_class(line, y) for line, y in zip(cosine.tolist(), own, strict=True)]
    torch.testing.assert_close(weight[:, 0], torch.tensor(told), rtol=1e-4, atol=1e-6)


def test_the_weight_of_a_label_by_a_slow_loop() -> None:
    cosine, target = 10 * draw(6, 3), (draw(6, 3, seed=1) > 0).float()
    weight = HypersphericalMargin(3, sharpness=7.0).weigh(cosine, target, torch.arange(6))
    for line, ys, said in zip(cosine.tolist(), target.tolist(), weight.tolist(), strict=True):
        assert said == pytest.approx([of_label(c, y == 1, 7.0) for c, y in zip(line, ys, strict=True)])


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_clean_sample_counts_and_a_wrong_one_does_not(exclusive: bool) -> None:
    """Between prototypes at right angles: on one's own, on another's, and half-way."""
    cosine = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.5**0.5, 0.5**0.5, 0, 0]])
    loss = HypersphericalMargin(4, exclusive)
    weight = loss.weigh(cosine, one_hot([0, 0, 0], 4), torch.arange(3))[:, 0]
    assert weight[0] > 0.99 and weight[1] < (0.01 if exclusive else 0.51)
    assert (loss.weigh(draw(50, 4), one_hot([0] * 50, 4), torch.arange(50)) <= 1).all()
    if exclusive:
        assert weight[2] == pytest.approx(0.25)  # torn: half of the sigmoid, and none for being alone
    else:
        wrong = loss.weigh(-cosine[:1], one_hot([0], 4), torch.arange(1))
        assert wrong[0, 0] < 0.01  # called present, and opposite to what is present


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_loss_over_a_training_by_a_slow_loop(exclusive: bool) -> None:
    """Six epochs of two batches, two of warm-up; a record of unknown class, or a label unknown in one."""
    epochs, labels, records = 6, 4, 6
    own = [0, 1, 2, 3, 0, 1]
    target = one_hot(own, labels) if exclusive else (draw(records, labels, seed=9) > 0).float()
    target[3, slice(None) if exclusive else 2] = NAN
    loss = HypersphericalMargin(labels, exclusive, records + 5, 2 * epochs)
    past: dict[tuple[int, int], list[tuple[float, float]]] = {}  # (record, column) -> (portion, weight)
    for step in range(2 * epochs):
        rows = torch.tensor([0, 3, 4] if step % 2 else [1, 2, 5])
        cosine, logits = draw(records, labels, seed=step)[rows], draw(records, labels, seed=-step - 1)[rows]
        said = loss(Outputs(logits=logits, cosine=cosine), batch(target[rows], rows + 5))
        total, count, portion = 0.0, 0, math.exp(1 + math.cos(math.pi * step / (2 * epochs)))
        for place, row in enumerate(rows.tolist()):
            for label in [0] if exclusive else range(labels):
                if math.isnan(target[row, label]):
                    continue
                if exclusive:
                    shares = logits[place].double().softmax(0)
                    each = -math.log(shares[own[row]])
                    weight = of_class(cosine[place].tolist(), own[row])
                else:
                    present = bool(target[row, label])
                    p = sigmoid(float(logits[place, label]))
                    each = -math.log(p if present else 1 - p)
                    weight = of_label(float(cosine[place, label]), present, 100.0)
                seen = past.setdefault((row, label), [])
                seen.append((portion, weight))
                smooth = sum(a * w for a, w in seen) / sum(a for a, _ in seen)
                total += each * (1 if step < 4 else smooth)
                count += 1
        assert said.item() == pytest.approx(total / count, rel=1e-4)


def test_early_epochs_count_more() -> None:
    """The first doubt outlasts the certainty that comes with learning by heart."""
    weights = []
    for cosines in ([-1, 1, 1, 1], [1, 1, 1, -1]):
        loss = HypersphericalMargin(1, False, 1, 4, warmup=0.0)
        for cosine in cosines:
            last = loss.weigh(torch.tensor([[float(cosine)]]), torch.ones(1, 1), torch.zeros(1).long())
        weights.append(float(last))
    assert weights[0] < 0.75 < weights[1]


def test_a_record_that_a_batch_holds_twice_is_noted_twice() -> None:
    twice, apart = (HypersphericalMargin(1, False, 3, 10, warmup=0.0) for _ in range(2))
    cosine, target = torch.tensor([[0.2], [-0.4]]), torch.ones(2, 1)
    said = twice.weigh(cosine, target, torch.tensor([1, 1]))
    alone = apart.weigh(cosine, target, torch.tensor([1, 2]))
    torch.testing.assert_close(said, alone.mean(0, keepdim=True).expand(2, 1))


def test_judging_neither_weighs_nor_notes() -> None:
    loss = HypersphericalMargin(2, False, 4, 10, warmup=0.0)
    logits, target = draw(4, 2), torch.ones(4, 2)
    before = [buffer.clone() for buffer in loss.buffers()]
    said = loss.eval()(Outputs(logits=logits), batch(target))
    plain = parts.build("losses", {"name": "bce"})(Outputs(logits=logits), batch(target))
    torch.testing.assert_close(said, plain)
    assert all(torch.equal(a, b) for a, b in zip(before, loss.buffers(), strict=True))
    with pytest.raises(ValueError, match="named 'cosine': the heads of this recipe give logits"):
        loss.train()(Outputs(logits=logits), batch(target))
    for wrong in ({"warmup": 2.0}, {"sharpness": 0.0}):
        with pytest.raises(ValueError, match="warmup from 0 to 1 and sharpness above 0"):
            HypersphericalMargin(**wrong)


def test_the_weights_have_no_gradient() -> None:
    logits, cosine = draw(4, 2).requires_grad_(), draw(4, 2).requires_grad_()
    HypersphericalMargin(2)(Outputs(logits=logits, cosine=cosine), batch(torch.ones(4, 2))).backward()
    assert cosine.grad is None and logits.grad is not None and logits.grad.all()


@pytest.mark.parametrize("exclusive", [True, False])
def test_wrong_labels_lose_their_weight(exclusive: bool) -> None:
    """Four blobs that a small network tells apart, a fifth of the labels wrong."""
    torch.manual_seed(0)
    records, labels, steps = 400, 4, 120
    blob = torch.arange(records) % labels
    tokens = Tokens((3 * torch.randn(labels, 16)[blob] + torch.randn(records, 16))[:, None])
    truth = one_hot(blob.tolist(), labels)
    if exclusive:
        wrong = torch.rand(records, 1) < 0.2
        target = torch.where(wrong, truth.roll(1, 1), truth)
    else:
        wrong = torch.rand(records, labels) < 0.2
        target = torch.where(wrong, 1 - truth, truth)
    head = Cosine(16, labels, pool=["mean"], hidden=[32])
    loss = HypersphericalMargin(labels, exclusive, records, steps)
    adam = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(steps):
        adam.zero_grad()
        loss(Outputs(head(tokens)), batch(target)).backward()
        adam.step()
    weight, top = loss.sum / loss.mass, 0.5 if exclusive else 1.0  # the other classes are not equally far
    assert weight[wrong].mean() < 0.25 * top
    assert weight[~wrong].mean() > 0.75 * top
    assert ((weight < 0.5 * top) == wrong).float().mean() > 0.97


RECIPE: dict[str, Any] = {
    "task": {"column": "big", "flip": 0.1},
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 0.5, "scale": "train"},
    "backbone": {"name": "resnet1d_wang", "width": 4},
    "head": {"name": "cosine", "hidden": []},
    "loss": {"name": "hyperspherical_margin"},
    "train": {"epochs": 6, "batch": 16, "lr": 1e-2, "average": 0.5, "validate": 6},
    "evaluate": {"resamples": 20, "rows": [], "examples": 0},
}


def test_a_stopped_run_ends_as_one_that_never_was(tmp_path: Path) -> None:
    """Stopped after the warm-up; the memory goes into what is resumed, not into the weights."""
    cells = [{"big": int(i % 3 == 1), "patient": i} for i in range(80)]
    store = store_of(tmp_path / "store", cells, signal=True)
    whole = train(RECIPE, store.path, tmp_path / "whole")

    def stop(now: Progress) -> None:
        if now.line and now.line["epoch"] == 4:
            raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt, match="resume"):
        train(RECIPE, store.path, out, watch=stop)
    train(RECIPE, store.path, out, resume=True)
    for name in ("weights.safetensors", "predictions.parquet", "results.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert not [name for name in read(out / "weights.safetensors")[0] if "loss" in name]
    model = load(out, "cpu")
    assert not any(buffer.any() for buffer in passing(model.method).values())
    assert model.predict(store.read(torch.arange(2).numpy()), hertz=100.0).shape == (2, 1)


def test_the_cosine_head_by_hand() -> None:
    torch.manual_seed(0)
    prior = torch.tensor([-2.0, 0.5])
    head = Cosine(6, 2, prior, pool=["mean"], hidden=[], scale=3.0).eval()
    said = Tokens(torch.randn(4, 5, 6))
    pooled = said.values.mean(1)
    for i, f in enumerate(pooled):
        for k, w in enumerate(head.prototypes.detach()):
            cosine = float((f * w).sum() / (f.norm() * w.norm()))
            assert head(said)["cosine"][i, k].item() == pytest.approx(cosine, abs=1e-5)
            assert head(said)["logits"][i, k].item() == pytest.approx(3 * cosine + float(prior[k]), abs=1e-5)
    larger = Tokens(100 * said.values)
    torch.testing.assert_close(head(larger)["logits"], head(said)["logits"])
    plain = head(said)["cosine"]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(said)["cosine"], plain, atol=0.02, rtol=0)
        assert head(said)["cosine"].dtype == torch.float32
    assert torch.equal(prior, torch.tensor([-2.0, 0.5]))
    assert Cosine(6, 2, prior, bias=False).bias is None
    with pytest.raises(ValueError, match="scale is above 0"):
        Cosine(6, 2, scale=0.0)
