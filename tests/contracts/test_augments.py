"""The contract of every augmentation, and what each one does."""

import math
from dataclasses import replace

import pytest
import torch

from einthoven import parts
from einthoven.ecg import Signal
from einthoven.types import Augment, Batch

WANTS = Signal(seconds=5.0)
BY_CHANCE = [
    n for n in parts.names("augments") if "probability" in parts.signature(parts.find("augments", n))[1]
]
every = pytest.mark.parametrize("name", BY_CHANCE)  # the others make views of a record: see below


def made(name: str, **options: object) -> Augment:
    augment: Augment = parts.build("augments", {"name": name} | options, wants=WANTS)
    return augment


def batch(records: int = 64, samples: int = WANTS.samples) -> Batch:
    ecg = torch.randn(records, 12, samples, generator=torch.Generator().manual_seed(0)) + 1
    rows = torch.arange(records)
    return Batch(ecg=ecg, row=rows, patient=rows // 2, target=torch.ones(records, 1))


@every
def test_changes_some_records_and_no_other_field(name: str) -> None:
    before, kept = batch(), batch()
    after = made(name, probability=0.5)(before)
    changed = (after.ecg != before.ecg).flatten(1).any(1)
    assert 10 < changed.sum() < 54
    assert torch.equal(before.ecg, kept.ecg)  # the batch that came in is as it was
    assert torch.equal(after.row, before.row) and torch.equal(after.target, before.target)
    assert after.ecg.shape == before.ecg.shape and after.ecg.dtype == torch.float32


@every
def test_probability_none_and_all(name: str) -> None:
    assert torch.equal(made(name, probability=0.0)(batch()).ecg, batch().ecg)
    changed = made(name, probability=1.0)(batch()).ecg != batch().ecg
    assert changed.flatten(1).any(1).float().mean() > 0.9
    with pytest.raises(ValueError, match="between 0 and 1"):
        made(name, probability=1.5)(batch())


@every
def test_all_chance_is_torchs(name: str) -> None:
    torch.manual_seed(3)
    once = made(name)(batch()).ecg
    torch.manual_seed(3)
    assert torch.equal(made(name)(batch()).ecg, once)


def test_noise_has_the_stated_ratio() -> None:
    added = made("noise", decibel=[10.0, 10.0], probability=1.0)(batch()).ecg - batch().ecg
    ratio = batch().ecg.var(2) / added.var(2)
    assert 10 * math.log10(ratio.mean()) == pytest.approx(10, abs=0.2)


def test_amplitude_is_one_factor_for_all_leads() -> None:
    factor = made("amplitude", change=0.3, probability=1.0)(batch()).ecg / batch().ecg
    assert torch.allclose(factor, factor[:, :1, :1].expand_as(factor), atol=1e-4)
    assert 0.69 < factor.min() < 0.8 and 1.2 < factor.max() < 1.31


def test_baseline_wander_is_slow_and_small() -> None:
    drift = made("baseline_wander", millivolt=0.2, hertz=0.5, probability=1.0)(batch()).ecg - batch().ecg
    assert 0.05 < drift.abs().max() <= 0.2
    power = torch.fft.rfft(drift - drift.mean(2, keepdim=True), dim=2).abs().square()
    frequency = torch.fft.rfftfreq(WANTS.samples, 1 / WANTS.hertz)
    assert (power[..., frequency <= 1.0].sum() / power.sum()) > 0.95


def test_time_mask_hides_one_stretch_of_all_leads() -> None:
    gone = made("time_mask", share=0.2, probability=1.0)(batch()).ecg == 0
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert gone[:, 0].sum(1).max() <= 0.2 * WANTS.samples + 1
    edges = (gone[:, 0, 1:] != gone[:, 0, :-1]).sum(1)
    assert edges.max() == 2


def test_time_shift_moves_all_leads_alike() -> None:
    shifted = made("time_shift", seconds=0.1, probability=1.0)(batch()).ecg
    for before, after in zip(batch().ecg, shifted, strict=True):
        moves = [
            m for m in range(-10, 11) if torch.equal(torch.roll(before, m, 1)[:, 10:-10], after[:, 10:-10])
        ]
        assert len(moves) == 1


def test_drop_leads_says_which_are_gone_and_keeps_one() -> None:
    after = made("drop_leads", share=0.99, probability=1.0)(batch())
    assert after.leads is not None
    there = after.leads >= 0
    assert (there.sum(1) >= 1).all() and there.float().mean() < 0.2
    assert not after.ecg[~there].any() and torch.equal(after.ecg[there], batch().ecg[there])


def test_flip_sign_turns_all_leads_upside_down() -> None:
    assert torch.equal(made("flip_sign", probability=1.0)(batch()).ecg, -batch().ecg)


def test_what_is_no_chance_makes_views() -> None:
    views = {name for name in parts.names("augments") if parts.find("augments", name).views}
    assert views == set(parts.names("augments")) - set(BY_CHANCE) == {"halves", "repeat"}


@pytest.mark.parametrize(("name", "times"), [("repeat", 2), ("repeat", 3), ("halves", 2)])
def test_views_are_rows_of_the_same_record(name: str, times: int) -> None:
    whole = batch(5, 2 * WANTS.samples if name == "halves" else WANTS.samples)
    whole = replace(whole, leads=torch.arange(60).view(5, 12) % 12, columns={"age": torch.arange(5.0)})
    after = made(name, **({"views": times} if name == "repeat" else {}))(whole)
    assert after.leads is not None and after.target is not None
    assert after.row.tolist() == list(range(5)) * times and after.patient.tolist() == [0, 0, 1, 1, 2] * times
    assert (
        torch.equal(after.columns["age"], torch.arange(5.0).repeat(times)) and len(after.target) == 5 * times
    )
    for view in range(times):
        part = slice(5 * view, 5 * view + 5)
        start = WANTS.samples * view if name == "halves" else 0
        assert torch.equal(after.ecg[part], whole.ecg[..., start : start + WANTS.samples])
        assert torch.equal(after.leads[part], torch.arange(60).view(5, 12) % 12)


def test_views_differ_by_what_follows() -> None:
    after = made("noise", probability=1.0)(made("repeat")(batch(4)))
    assert not torch.equal(after.ecg[:4], after.ecg[4:])


def test_views_that_cannot_be_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="2 views or more of a record, got views = 1"):
        made("repeat", views=1)
    for samples in (WANTS.samples, 2 * WANTS.samples + 1):
        with pytest.raises(ValueError, match=r"set \[crop\] seconds = 10, twice \[signal\] seconds"):
            made("halves")(batch(2, samples))
