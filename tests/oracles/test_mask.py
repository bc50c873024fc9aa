"""What is hidden follows the stated rule: how much, how long, and every place as often as it says."""

from fractions import Fraction
from math import floor

import pytest
import torch

from einthoven.layers.mask import anywhere, at_times, block_times, kept_of, per_lead, random_times
from einthoven.types import Patches

ROWS, STEPS = 12, 30


def patches(batch: int, rows: int = ROWS, steps: int = STEPS) -> Patches:
    lead = torch.arange(rows).repeat_interleave(steps).expand(batch, -1)
    time = torch.arange(steps).repeat(rows).expand(batch, -1)
    return Patches(torch.randn(batch, rows * steps, 2), lead, time, None, rows, aligned=True)


def test_st_mem_hides_23_of_the_30_patches_of_each_lead_each_as_often() -> None:
    torch.manual_seed(0)
    given = patches(400)
    kept, hidden = per_lead(given, 0.75)
    assert kept.shape == (400, ROWS * 7)
    assert hidden.shape == (400, ROWS * 23)
    both = torch.cat([kept, hidden], 1).sort(1).values
    assert torch.equal(both, torch.arange(ROWS * STEPS).expand(400, -1))  # each patch once
    for where, each in ((kept, 7), (hidden, 23)):
        lead = given.take(where, ROWS).lead.unflatten(1, (ROWS, each))
        assert torch.equal(lead, torch.arange(ROWS)[:, None].expand(400, ROWS, each))
    often = torch.zeros(400, ROWS * STEPS).scatter_(1, hidden, 1.0).mean(0)
    error = (23 / 30 * 7 / 30 / 400) ** 0.5
    assert (often - 23 / 30).abs().max() < 4.5 * error
    other = torch.zeros(400, ROWS * STEPS).scatter_(1, hidden, 1.0).unflatten(1, (ROWS, STEPS))
    assert not torch.equal(other[:, 0], other[:, 1])  # each lead by itself


def test_mae_hides_anywhere() -> None:
    torch.manual_seed(0)
    kept, hidden = anywhere(patches(1000, 1, 20), 0.75)
    assert (kept.shape[1], hidden.shape[1]) == (5, 15)
    often = torch.zeros(1000, 20).scatter_(1, hidden, 1.0).mean(0)
    assert (often - 0.75).abs().max() < 4 * (0.75 * 0.25 / 1000) ** 0.5


@pytest.mark.parametrize("share", ["0.1", "0.2", "0.3", "0.6", "0.7", "0.75", "0.8", "0.9"])
def test_as_many_stay_as_the_share_says(share: str) -> None:
    for count in range(2, 61):
        whole = floor(count * (1 - Fraction(share)))
        assert kept_of(count, float(share)) == min(max(whole, 1), count - 1), count


def test_random_times_hide_the_stated_share_and_every_time_as_often() -> None:
    torch.manual_seed(0)
    drawn = torch.stack([random_times(50, 0.6, 0.7) for _ in range(2000)]).float()
    counts = drawn.sum(1)
    assert (int(counts.min()), int(counts.max())) == (30, 34)  # 30 to 35, rounded down
    share = float(counts.mean()) / 50
    assert abs(share - 0.64) < 0.006  # 32 of 50
    assert (drawn.mean(0) - share).abs().max() < 4.5 * (share * (1 - share) / 2000) ** 0.5


def test_blocks_have_the_stated_lengths_and_hide_every_time_as_often() -> None:
    torch.manual_seed(0)
    one = torch.stack([block_times(50, 0.175, 0.225, blocks=1) for _ in range(2000)])
    lengths = one.sum(1)
    assert sorted(set(lengths.tolist())) == [8, 9, 10, 11]
    expected = torch.tensor([0.1, 0.4, 0.4, 0.1])  # of 50 u, u from 0.175 to 0.225, rounded down
    found = torch.tensor([float((lengths == n).float().mean()) for n in (8, 9, 10, 11)])
    assert (found - expected).abs().max() < 0.05
    edges = (one != one.roll(1, 1)).sum(1)
    assert set(edges.tolist()) == {2}  # one block, on a circle

    four = torch.stack([block_times(50, 0.175, 0.225) for _ in range(2000)]).float()
    chance = 1 - (1 - 9.5 / 50) ** 4
    assert (four.mean(0) - chance).abs().max() < 4.5 * (chance * (1 - chance) / 2000) ** 0.5
    assert abs(float(four.mean()) - chance) < 0.01


def test_the_same_times_of_all_leads() -> None:
    hidden = torch.zeros(STEPS, dtype=torch.bool)
    hidden[[3, 29]] = True
    given = patches(2)
    keep, hide = at_times(given, hidden)
    assert torch.equal(
        given.take(hide).time.unflatten(1, (ROWS, 2)), torch.tensor([3, 29]).expand(2, ROWS, 2)
    )
    assert keep.shape == (2, ROWS * (STEPS - 2))


def test_something_is_always_kept_and_something_hidden() -> None:
    for share in (0.01, 0.99):
        kept, hidden = anywhere(patches(2, 1, 3), share)
        assert kept.shape[1] >= 1
        assert hidden.shape[1] >= 1
    with pytest.raises(ValueError, match="one patch has nothing to hide"):
        anywhere(patches(2, 1, 1), 0.5)
    with pytest.raises(ValueError, match="may hide all"):
        block_times(4, 0.175, 0.225)
