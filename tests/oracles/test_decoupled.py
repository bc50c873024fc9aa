"""The decoupled head against one small network per label, as published."""

import pytest
import torch
from torch import Tensor, nn

from einthoven import parts
from einthoven.heads.decoupled import Decoupled
from einthoven.layers.dense import keep
from einthoven.types import Tokens

LABELS, DIM = 5, 6


def made(**options: object) -> Decoupled:
    torch.manual_seed(0)
    head: Decoupled = parts.build("heads", {"name": "decoupled"} | options, dim=DIM, labels=LABELS)
    for weight in head.parameters():
        nn.init.normal_(weight, 0.5, 0.5)
    return head


def tokens(records: int = 9) -> Tokens:
    return Tokens(torch.randn(records, 4, DIM, generator=torch.Generator().manual_seed(1)))


def one_by_one(head: Decoupled, pooled: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """A loop over labels with torch's own layers: batch norm, linear, batch norm, linear."""
    spaces, logits, embeddings = head.spaces, [], []
    assert spaces is not None
    for k in range(LABELS):
        first, second = nn.BatchNorm1d(2 * DIM), nn.BatchNorm1d(spaces.size)
        into, last = nn.Linear(2 * DIM, spaces.size), nn.Linear(spaces.size, 1)
        place = slice(k * spaces.size, (k + 1) * spaces.size)
        with torch.no_grad():
            first.weight.copy_(spaces.scale[k])
            first.bias.copy_(spaces.shift[k])
            into.weight.copy_(spaces.weight[k].T)
            into.bias.copy_(spaces.bias[k])
            second.weight.copy_(spaces.norm.weight[place])
            second.bias.copy_(spaces.norm.bias[place])
            last.weight.copy_(spaces.last[k][None])
            last.bias.copy_(spaces.threshold[k])
        first.train(training)
        second.train(training)
        z = into(first(pooled))
        embeddings.append(z)
        logits.append(last(second(z))[:, 0])
    return torch.stack(embeddings, 1), torch.stack(logits, 1)


@pytest.mark.parametrize("training", [True, False])
def test_is_one_network_per_label_beside_the_benchmark_head(training: bool) -> None:
    head = made(dropout=0.0)
    head.train(training)
    said = head(tokens())
    pooled = torch.cat([tokens().values.amax(1), tokens().values.mean(1)], 1)
    embedding, alone = one_by_one(head, pooled, training)
    share = head.gate.sigmoid()
    assert head.fusion is not None
    torch.testing.assert_close(said["label_embedding"], embedding, atol=1e-5, rtol=1e-4)
    mixed = share * head.fusion(pooled) + (1 - share) * alone
    torch.testing.assert_close(said["logits"], mixed, atol=1e-4, rtol=1e-4)


def test_dropout_is_right_on_average_and_of_its_own_for_each_label() -> None:
    spaces = made().spaces
    assert spaces is not None
    spaces.statistics.eval()  # so that dropout alone differs between the two modes
    pooled = torch.randn(4, 2 * DIM, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)
    drawn = torch.stack([spaces(pooled) for _ in range(4000)])
    spaces.eval()
    error = drawn.std(0) / 4000**0.5
    assert ((drawn.mean(0) - spaces(pooled)).abs() < 5 * error).all()
    centred = drawn[:, 0, :, 0] - drawn[:, 0, :, 0].mean(0)
    correlation = torch.corrcoef(centred.T)[~torch.eye(LABELS, dtype=torch.bool)]
    assert correlation.abs().max() < 0.08


def test_masks_keep_their_share_and_scale_up() -> None:
    torch.manual_seed(0)
    mask = keep(torch.zeros(1000, 333), 0.25)
    torch.testing.assert_close(mask.unique(), torch.tensor([0.0, 4 / 3]))
    assert mask.mean().item() == pytest.approx(1, abs=0.005)
    assert (mask == 0).float().mean().item() == pytest.approx(0.25, abs=0.003)
    flat = (mask.flatten()[: 8 * 40000].view(-1, 8) == 0).float()  # one draw makes eight bytes: all alike
    assert (flat.mean(0) - 0.25).abs().max() < 0.015
    assert torch.corrcoef(flat.T).fill_diagonal_(0).abs().max() < 0.03


def test_each_half_alone() -> None:
    only = made(fusion=False, dropout=0.0).eval()
    pooled = torch.cat([tokens().values.amax(1), tokens().values.mean(1)], 1)
    torch.testing.assert_close(
        only(tokens())["logits"], one_by_one(only, pooled, False)[1], atol=1e-4, rtol=1e-4
    )
    plain = made(decoupled=False)
    assert set(plain(tokens())) == {"logits"} == set(plain.gives)
    linear = parts.build("heads", {"name": "linear"}, dim=DIM, labels=LABELS)
    linear.layers.load_state_dict(plain.fusion.state_dict())  # type: ignore[union-attr]
    assert torch.equal(plain.eval()(tokens())["logits"], linear.eval()(tokens())["logits"])
    with pytest.raises(ValueError, match="fusion or decoupled, or both"):
        made(fusion=False, decoupled=False)


def test_the_gate_starts_at_one_half_or_at_the_published_spread() -> None:
    def shares(**options: object) -> Tensor:
        torch.manual_seed(0)
        head = parts.build("heads", {"name": "decoupled"} | options, dim=2, labels=20_000)
        share: Tensor = head.gate.sigmoid()
        return share

    assert shares().eq(0.5).all()
    published = shares(gate="published").quantile(torch.tensor([0.05, 0.5, 0.95]))
    torch.testing.assert_close(published, torch.tensor([0.093, 0.5, 0.908]), atol=0.02, rtol=0)


# What the published module holds at F = 256 and d = 8, less what does nothing: of the K x K + K numbers of
# its gate K, and none of the 5 K + 2 of an unused layer.
@pytest.mark.parametrize(
    ("labels", "published"), [(71, 671_435), (44, 594_674), (23, 535_979), (5, 486_371), (19, 524_899)]
)
def test_has_the_published_weights_less_the_idle_ones(labels: int, published: int) -> None:
    backbone = parts.build("backbones", {"name": "resnet1d_wang"})
    head = parts.build("heads", {"name": "decoupled"}, backbone=backbone, labels=labels)
    mine = sum(weight.numel() for part in (backbone, head) for weight in part.parameters())
    assert mine == published - labels**2 - (5 * labels + 2)


def test_one_label() -> None:
    head = parts.build("heads", {"name": "decoupled"}, dim=DIM, labels=1)
    assert head(tokens())["logits"].shape == (9, 1)
