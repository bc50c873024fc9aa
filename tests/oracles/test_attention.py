"""Attention along leads and times equals the dense masked form; what is absent is never seen."""

import math

import pytest
import torch

from einthoven.layers import attention
from einthoven.layers.attention import Attention, Block, Sight, across, attend, crossed, sincos

BATCH, HEADS, ROWS, STEPS, DIM = 2, 2, 4, 5, 8


def heads(tokens: int = ROWS * STEPS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, HEADS, tokens, DIM)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in "qkv"]


def places() -> tuple[torch.Tensor, torch.Tensor]:
    lead = torch.arange(ROWS).repeat_interleave(STEPS).expand(BATCH, -1)
    time = torch.tensor([0, 2, 3, 7, 9]).repeat(ROWS).expand(BATCH, -1)  # some times of a longer window
    return lead, time


def slow(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, see: torch.Tensor) -> torch.Tensor:
    """From the definition: a softmax over the keys that a query sees."""
    out = torch.zeros_like(q)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                keys = [j for j in range(k.shape[2]) if see[b, i, j]]
                powers = [math.exp(float(q[b, h, i] @ k[b, h, j]) / math.sqrt(DIM)) for j in keys]
                for power, j in zip(powers, keys, strict=True):
                    out[b, h, i] += power / sum(powers) * v[b, h, j]
    return out


def test_a_token_sees_its_lead_and_its_time() -> None:
    see = crossed(*places())
    assert see[0].sum(1).tolist() == [STEPS + ROWS - 1] * (ROWS * STEPS)
    assert see[0, 7].nonzero().flatten().tolist() == [2, 5, 6, 7, 8, 9, 12, 17]


@pytest.mark.parametrize("absent", [(), (1,), (0, 3)])
def test_the_grid_equals_the_dense_form_and_the_definition(absent: tuple[int, ...]) -> None:
    q, k, v = heads()
    lead, time = places()
    real = torch.ones(BATCH, ROWS * STEPS, dtype=torch.bool)
    for row in absent:
        real[0] &= lead[0] != row  # of one record only
    see = crossed(lead, time) & real[:, None]
    grid = across(q, k, v, ROWS, real if absent else None)
    torch.testing.assert_close(
        grid[real[:, None].expand(-1, HEADS, -1)], slow(q, k, v, see)[real[:, None].expand(-1, HEADS, -1)]
    )
    torch.testing.assert_close(grid[1], attend(q, k, v, see[:, None])[1])


def test_the_grid_has_the_gradients_of_the_dense_form() -> None:
    ours, dense = ([x.requires_grad_() for x in heads()] for _ in range(2))
    across(*ours, ROWS, None).square().sum().backward()
    attend(*dense, crossed(*places())[:, None]).square().sum().backward()
    for a, b in zip(ours, dense, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("masked", [False, True])
def test_plain_products_equal_sdpa(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = heads()
    see = torch.rand(BATCH, 1, 1, ROWS * STEPS, generator=torch.Generator().manual_seed(1)) < 0.6
    plain = attend(q, k, v, see if masked else None)
    monkeypatch.setattr(attention, "PLAIN", 0)
    torch.testing.assert_close(plain, attend(q, k, v, see if masked else None))


def test_an_absent_token_changes_nothing() -> None:
    block = Block(24, 3).double()
    x = torch.randn(BATCH, ROWS * STEPS, 24, dtype=torch.float64)
    real = places()[0] != 2
    changed = torch.where(real[..., None], x, 100.0)
    for sight in (Sight(real), Sight(real, ROWS), Sight(real, mask=crossed(*places()))):
        torch.testing.assert_close(block(x, sight)[real], block(changed, sight)[real])


def test_attention_equals_torch() -> None:
    ours, theirs = Attention(24, 3), torch.nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.qkv.weight, ours.qkv.bias
    theirs.out_proj = ours.out  # type: ignore[assignment]
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(ours(x, Sight()), theirs(x, x, x, need_weights=False)[0], atol=1e-6, rtol=1e-5)


def test_stochastic_depth_leaves_branches_out_by_record_and_only_in_training() -> None:
    torch.manual_seed(0)
    block, x = Block(8, 2, drop=0.5), torch.randn(400, 3, 8)
    whole = block.eval()(x)
    same = (block.train()(x) == x).all(2).all(1).float().mean()
    assert abs(float(same) - 0.25) < 0.07  # both branches left out
    torch.testing.assert_close(block.eval()(x), whole)


def test_the_code_of_time_is_sines_then_cosines() -> None:
    code = sincos(torch.tensor([3]), 4)[0]
    torch.testing.assert_close(code, torch.tensor([math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]))
