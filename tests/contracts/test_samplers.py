"""The contract of every sampler."""

import time
from collections import Counter

import pytest
import torch

from einthoven import parts
from einthoven.types import Sampler

every = pytest.mark.parametrize("name", parts.names("samplers"))
ROWS = torch.arange(100, 203)
TARGETS = torch.zeros(103, 2)
TARGETS[:5, 0] = 1
TARGETS[5:40, 1] = 1


PATIENTS = torch.arange(103) // 3


def made(name: str, batch: int = 10, seed: int = 0, **options: object) -> Sampler:
    offers = {"rows": ROWS, "targets": TARGETS, "patients": PATIENTS, "batch": batch, "seed": seed}
    sampler: Sampler = parts.build("samplers", {"name": name} | options, **offers)
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
    size = {"patients": 35 * 2}.get(name, 103)  # two ECGs of each patient
    assert made(name, batch=500).plan(0).shape == (1, size)


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


def test_patients_bring_several_ecgs_of_each_together() -> None:
    sampler = made("patients", records=3)  # three patients in a batch of ten: one place stays empty
    plan = sampler.plan(0)
    assert plan.shape == (sampler.steps, 9) == (11, 9)
    whose = PATIENTS[plan - 100].view(-1, 3)
    assert (whose == whose[:, :1]).all()
    assert len(whose[:, 0].unique()) == len(whose)  # no patient twice in an epoch
    for patient, rows in zip(whose[:, 0].tolist(), plan.view(-1, 3).tolist(), strict=True):
        assert len(set(rows)) == (1 if patient == 34 else 3)  # the last one has a single ECG


def test_patients_choose_any_two_ecgs_alike_and_leave_nobody_out() -> None:
    sampler, pairs = made("patients"), Counter[tuple[int, ...]]()
    whole = [sampler.plan(epoch) for epoch in range(60)]
    for first, second in torch.cat(whole).view(-1, 2).tolist():
        pairs[tuple(sorted((first, second)))] += 1
    assert set(torch.cat(whole).flatten().tolist()) == set(ROWS.tolist())
    assert all(first != second for first, second in pairs if first < 202)
    by_place = Counter({(0, 1): 0, (0, 2): 0, (1, 2): 0})
    for (first, second), count in pairs.items():
        if first < 202:
            by_place[(first - 100) % 3, (second - 100) % 3] += count
    assert all(abs(count / by_place.total() - 1 / 3) < 0.04 for count in by_place.values())


def test_patients_repeat_ecgs_only_of_those_who_have_few() -> None:
    patients = torch.tensor([7, 9, 7, 9, 7, 3])
    offers = {"rows": torch.arange(6) * 10, "patients": patients, "batch": 8, "seed": 1}
    met = parts.build("samplers", {"name": "patients", "records": 4}, **offers).plan(0).view(-1, 4)
    counts = {tuple(sorted(Counter(rows).values())) for rows in met.tolist()}
    assert counts <= {(1, 1, 2), (2, 2), (4,)} and len(met) == 2
    skips = parts.build("samplers", {"name": "patients", "alone": "skip"}, **offers)
    for epoch in range(10):
        plan = skips.plan(epoch)
        assert plan.shape == (1, 4) and 50 not in plan
        assert all(len(set(pair)) == 2 for pair in plan.view(-1, 2).tolist())


def test_patients_refuse_what_cannot_be() -> None:
    offers = {"rows": torch.arange(6), "batch": 8, "seed": 0}
    each, one = torch.arange(6), torch.zeros(6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"two ECGs or more; the training split has 0: set alone = 'repeat'"):
        parts.build("samplers", {"name": "patients", "alone": "skip"}, patients=each, **offers)
    with pytest.raises(ValueError, match="two patients; the training split has 1: set .*'shuffled'"):
        parts.build("samplers", {"name": "patients"}, patients=one, **offers)
    for records in (0, 5):
        with pytest.raises(
            ValueError, match=rf"records = {records} \(from 1\) .*: set \[train\] batch from "
        ):
            parts.build("samplers", {"name": "patients", "records": records}, patients=each, **offers)


def test_patients_plan_a_large_cohort_at_once() -> None:
    """200,000 patients in well under a second; a loop over them would take several."""
    patients = torch.arange(500_000) * 2 // 5
    started = time.process_time()
    made = parts.build(
        "samplers", {"name": "patients"}, rows=torch.arange(500_000), patients=patients, batch=256, seed=0
    )
    assert made.plan(0).shape == (1562, 256)
    assert time.process_time() - started < 2
