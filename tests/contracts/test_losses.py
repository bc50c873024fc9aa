"""The contract of every loss that compares answers with a target, and each against its definition."""

import math

import pytest
import torch

from einthoven import parts
from einthoven.types import Batch, Loss, Outputs

ANSWERS = [name for name in parts.names("losses") if "embedding" not in parts.find("losses", name).asks]
every = pytest.mark.parametrize("name", ANSWERS)
LOGITS = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.7, 0.1]])
TARGET = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


def batch(target: torch.Tensor | None) -> Batch:
    rows = torch.arange(3)
    return Batch(ecg=torch.zeros(3, 12, 10), row=rows, patient=rows, target=target)


def told(logits: torch.Tensor) -> Outputs:
    """All that a loss may read, made of the same numbers."""
    turn = logits.exp()
    space = torch.stack([turn.cos(), turn.sin()], 2)
    return Outputs(logits=logits, cosine=logits.tanh(), label_embedding=space)


def score(name: str, logits: torch.Tensor, target: torch.Tensor, **options: float) -> torch.Tensor:
    loss: Loss = parts.build("losses", {"name": name} | options)
    value: torch.Tensor = loss(told(logits), batch(target))
    return value


@every
def test_is_finite_with_a_gradient_when_nothing_is_known(name: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    value = score(name, logits, torch.full((3, 2), torch.nan))
    value.backward()
    assert torch.isfinite(value) and value < 1e-2
    assert logits.grad is not None and not logits.grad.any()


@every
def test_unknown_records_take_no_part(name: str) -> None:
    target = TARGET.clone()
    target[1] = torch.nan
    part = score(name, LOGITS, target)
    rows = torch.arange(2)
    kept = Batch(ecg=torch.zeros(2, 12, 10), row=rows, patient=rows, target=TARGET[[0, 2]])
    torch.testing.assert_close(part, parts.build("losses", {"name": name})(told(LOGITS[[0, 2]]), kept))


@every
def test_the_truth_scores_better_than_its_opposite(name: str) -> None:
    """As on validation: while it learns, a loss may doubt a label that it finds unlikely."""
    sure = 4 * TARGET - 2 if name in ("bce", "cross_entropy") else TARGET
    loss = parts.build("losses", {"name": name}).eval()
    assert loss(told(sure), batch(TARGET)) < loss(told(-sure), batch(TARGET))


@every
def test_needs_a_target_and_what_it_asks(name: str) -> None:
    loss = parts.build("losses", {"name": name})
    with pytest.raises(ValueError, match=r"no \[task\]"):
        loss(told(LOGITS), batch(None))
    for asked in loss.asks:
        given = Outputs({key: value for key, value in told(LOGITS).items() if key != asked})
        with pytest.raises(ValueError, match=f"named '{asked}': the heads of this recipe give "):
            loss(given, batch(TARGET))


def test_bce_by_a_slow_loop() -> None:
    total = 0.0
    for logits, target in zip(LOGITS.tolist(), TARGET.tolist(), strict=True):
        for x, y in zip(logits, target, strict=True):
            p = 1 / (1 + math.exp(-x))
            total -= math.log(p if y else 1 - p)
    assert score("bce", LOGITS, TARGET).item() == pytest.approx(total / 6, rel=1e-6)


def test_cross_entropy_by_a_slow_loop() -> None:
    total = 0.0
    for logits, target in zip(LOGITS.tolist(), TARGET.tolist(), strict=True):
        shares = [math.exp(x) / sum(map(math.exp, logits)) for x in logits]
        total -= math.log(shares[target.index(1.0)])
    assert score("cross_entropy", LOGITS, TARGET).item() == pytest.approx(total / 3, rel=1e-6)


def test_errors_by_a_slow_loop() -> None:
    gaps = [x - y for x, y in zip(LOGITS.flatten().tolist(), TARGET.flatten().tolist(), strict=True)]
    mean = sum(g * g for g in gaps) / 6
    assert score("mse", LOGITS, TARGET).item() == pytest.approx(mean, rel=1e-6)
    assert score("rmse", LOGITS, TARGET).item() == pytest.approx(math.sqrt(mean + 1e-6), rel=1e-6)
    huber = sum(0.5 * g * g if abs(g) <= 0.5 else 0.5 * (abs(g) - 0.25) for g in gaps) / 6
    assert score("huber", LOGITS, TARGET, delta=0.5).item() == pytest.approx(huber, rel=1e-6)
