"""The contract of every head."""

import pytest
import torch

from einthoven import parts
from einthoven.layers.pool import Pool
from einthoven.layers.several import Heads
from einthoven.types import Head, Tokens

every = pytest.mark.parametrize("name", parts.names("heads"))


def made(name: str) -> Head:
    torch.manual_seed(0)
    head: Head = parts.build("heads", {"name": name}, dim=6, labels=4)
    return head


def tokens(records: int = 3) -> Tokens:
    return Tokens(torch.randn(records, 5, 6, generator=torch.Generator().manual_seed(1)))


@every
def test_answers_one_line_per_record(name: str) -> None:
    for output in made(name)(tokens()).values():
        assert len(output) == 3


@every
def test_does_not_mix_the_records_of_a_batch(name: str) -> None:
    head, alone = made(name).eval(), Tokens(tokens().values[:1])
    for key, output in head(tokens()).items():
        torch.testing.assert_close(output[:1], head(alone)[key])


@every
def test_every_weight_learns(name: str) -> None:
    head = made(name)
    torch.stack([(x * torch.randn_like(x)).sum() for x in head(tokens(8)).values()]).sum().backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_padding_changes_nothing(name: str) -> None:
    head, plain = made(name).eval(), tokens()
    padded = Tokens(
        torch.cat([plain.values, torch.full((3, 2, 6), 99.0)], 1),
        torch.tensor([[True] * 5 + [False] * 2]).expand(3, -1),
    )
    for key, output in head(plain).items():
        torch.testing.assert_close(output, head(padded)[key])


def test_the_benchmark_head_by_hand() -> None:
    head, said = made("linear").eval(), tokens()
    first, second = head.layers[2], head.layers[6]
    pooled = torch.cat([said.values.amax(1), said.values.mean(1)], 1)
    shrink = (1 + 1e-5) ** -0.5  # a fresh batch norm
    hidden = (pooled * shrink @ first.weight.T + first.bias).relu() * shrink
    torch.testing.assert_close(head(said)["logits"], hidden @ second.weight.T + second.bias)


def test_a_pool_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="No pool .median.. Known: mean, max, special, lead_mean, lead_max"):
        Pool(4, ["median"])
    with pytest.raises(ValueError, match="no special token"):
        Pool(6, ["special"])(tokens())


def test_two_heads_may_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="Two heads give logits"):
        Heads([made("linear"), made("linear")]).eval()(tokens())
