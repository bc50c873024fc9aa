"""The contract of every sampler."""

import pytest
import torch

from einthoven import parts
from einthoven.types import Sampler

every = pytest.mark.parametrize("name", parts.names("samplers"))
ROWS = torch.arange(100, 203)
TARGETS = torch.zeros(103, 2)
TARGETS[:5, 0] = 1
TARGETS[5:40, 1] = 1


def made(name: str, batch: int = 10, seed: int = 0) -> Sampler:
    patients = torch.arange(103) // 3
    offers = {"rows": ROWS, "targets": TARGETS, "patients": patients, "batch": batch, "seed": seed}
    sampler: Sampler = parts.build("samplers", {"name": name}, **offers)
    return sampler


@every
def test_plans_its_steps_of_rows_of_the_split(name: str) -> None:
    plan = made(name).plan(0)
    assert plan.shape == (made(name).steps, 10)
    assert set(plan.flatten().tolist()) <= set(ROWS.tolist())


@every
def test_is_a_pure_function_of_seed_and_epoch(name: str) -> None:
    sampler = made(name)
    torch.manual_seed(1)
    first = sampler.plan(3)
    sampler.plan(4)
    torch.manual_seed(2)
    assert torch.equal(sampler.plan(3), first)
    assert not torch.equal(sampler.plan(4), first)
    assert not torch.equal(made(name, seed=1).plan(3), first)


@every
def test_few_records_make_one_small_batch(name: str) -> None:
    assert made(name, batch=500).plan(0).shape == (1, 103)


def test_shuffled_meets_each_record_once() -> None:
    plan = made("shuffled").plan(0).flatten().tolist()
    assert len(plan) == len(set(plan)) == 100


def test_balanced_meets_each_class_as_often() -> None:
    seen = torch.cat([made("balanced").plan(epoch).flatten() for epoch in range(60)]) - 100
    classes = torch.cat([TARGETS, (TARGETS.sum(1) == 0).float()[:, None]], 1)[seen].mean(0)
    torch.testing.assert_close(classes, torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    assert len(seen.unique()) == 103


def test_balanced_refuses_numbers_and_leaves_unknown_out_of_none() -> None:
    offers = {"rows": torch.arange(4), "batch": 2, "seed": 0}
    with pytest.raises(ValueError, match="for a regression use 'shuffled'"):
        parts.build(
            "samplers", {"name": "balanced"}, targets=torch.tensor([[0.3], [1.2], [-1.0], [0.0]]), **offers
        )
    targets = torch.tensor([[1.0], [0.0], [torch.nan], [torch.nan]])
    plans = [
        parts.build("samplers", {"name": "balanced"}, targets=targets, **offers).plan(e) for e in range(20)
    ]
    assert set(torch.cat(plans).flatten().tolist()) == {0, 1}
