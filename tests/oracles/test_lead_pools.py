"""Pools that keep leads apart: a slow loop, leads by name, and what they are refused for."""

import pytest
import torch

from einthoven import parts
from einthoven.layers.pool import Pool
from einthoven.types import LEADS, Backbone, Signal, Tokens

FEW = ("V5", "II", "aVR")


def made(**options: object) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = parts.build(
        "backbones",
        {"name": "vit", "size": [16, 1, 2], **options},
        wants=Signal(seconds=2.5, scale="crop"),
    )
    return backbone.eval()


def loop(tokens: Tokens, record: int, how: str) -> torch.Tensor:
    """Pool lead by lead, token by token."""
    assert tokens.lead is not None
    found = {}
    for lead in range(len(LEADS)):
        mine = [
            value
            for token, value in enumerate(tokens.values[record])
            if tokens.lead[record, token] == lead and (tokens.real is None or tokens.real[record, token])
        ]
        if mine:
            stacked = torch.stack(mine)
            found[lead] = stacked.mean(0) if how == "lead_mean" else stacked.max(0).values
    usual = torch.stack(list(found.values())).mean(0)
    return torch.cat([found.get(lead, usual) for lead in range(len(LEADS))])


@pytest.mark.parametrize("special", ["none", "sep"])
@pytest.mark.parametrize("how", ["lead_mean", "lead_max"])
def test_each_lead_is_pooled_by_itself_as_a_slow_loop_does(how: str, special: str) -> None:
    backbone, pool = made(special=special), Pool(16, [how])
    ecg = torch.randn(3, 12, backbone.wants.samples)
    ecg[1, 4] = 0  # nothing was plugged in
    with torch.no_grad():
        for tokens in (backbone(ecg), backbone(ecg[[0, 2]])):  # with an absent lead in the batch, and without
            said = pool(tokens)
            wanted = torch.stack([loop(tokens, record, how) for record in range(len(said))])
            torch.testing.assert_close(said, wanted)
    assert pool.dim == said.shape[1] == 12 * 16


@pytest.mark.parametrize("how", ["lead_mean", "lead_max"])
def test_a_lead_keeps_its_place_in_whatever_order_it_comes(how: str) -> None:
    backbone, pool = made(), Pool(16, [how])
    ecg, places = torch.randn(2, 3, backbone.wants.samples), torch.tensor([LEADS.index(lead) for lead in FEW])
    with torch.no_grad():
        said = pool(backbone(ecg, places.expand(2, -1))).unflatten(1, (12, 16))
        turned = pool(backbone(ecg.flip(1), places.flip(0).expand(2, -1))).unflatten(1, (12, 16))
    torch.testing.assert_close(said, turned)
    usual = said[:, places].mean(1)
    for lead in range(12):
        assert torch.allclose(said[:, lead], usual, atol=1e-5) == (lead not in places)


def test_pools_stand_beside_each_other() -> None:
    backbone = made()
    tokens = backbone(torch.randn(2, 12, backbone.wants.samples))
    both = Pool(16, ["mean", "lead_max"])
    torch.testing.assert_close(
        both(tokens), torch.cat([Pool(16, ["mean"])(tokens), Pool(16, ["lead_max"])(tokens)], 1)
    )
    assert both.dim == 13 * 16


def test_a_hybrid_keeps_the_leads_of_its_network() -> None:
    wants = Signal(seconds=2.5, scale="crop")
    table = {"name": "hybrid", "inner": {"name": "vit", "size": [16, 1, 2]}}
    backbone: Backbone = parts.build("backbones", table, wants=wants).eval()
    tokens = backbone(torch.randn(1, 12, wants.samples))
    assert Pool(backbone.dim, ["lead_mean"])(tokens).shape == (1, 12 * backbone.dim)


@pytest.mark.parametrize("table", [{"name": "vit", "together": True, "size": [16, 1, 2]}, {"name": "cnn"}])
def test_tokens_of_all_leads_are_refused(table: dict[str, object]) -> None:
    wants = Signal(seconds=2.5, scale="crop")
    backbone: Backbone = parts.build("backbones", table, wants=wants).eval()
    with pytest.raises(ValueError, match=r"tokens are of one lead: vit, unless .* Say \[head\] pool = "):
        Pool(backbone.dim, ["lead_max"])(backbone(torch.randn(2, 12, wants.samples)))
