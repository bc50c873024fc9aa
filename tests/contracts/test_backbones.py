"""The contract of every backbone: a new file in einthoven/backbones/ is tested with no change here."""

from pathlib import Path

import pytest
import torch
from torch import nn

from einthoven import parts, recipe
from einthoven.ecg import LEADS, Signal
from einthoven.types import Backbone

RECIPES = Path(__file__).parents[2] / "recipes/ptbxl"
WANTS = Signal(seconds=2.5)
every = pytest.mark.parametrize("name", parts.names("backbones"))


def made(name: str, wants: Signal = WANTS) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = parts.build("backbones", {"name": name}, wants=wants)
    for layer in backbone.modules():  # a fresh network may hide a path behind zeros
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return backbone


def ecg(records: int = 3) -> torch.Tensor:
    return torch.randn(records, 12, WANTS.samples, generator=torch.Generator().manual_seed(1))


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    unit = b.abs().max()
    torch.testing.assert_close(a / unit, b / unit, atol=1e-5, rtol=0)


@every
def test_turns_ecgs_into_tokens_of_its_width(name: str) -> None:
    backbone = made(name)
    tokens = backbone(ecg())
    assert tokens.values.shape[0] == 3
    assert tokens.values.shape[2] == backbone.dim
    assert backbone.wants == WANTS


@every
def test_does_not_mix_the_records_of_a_batch(name: str) -> None:
    backbone = made(name).eval()
    close(backbone(ecg()).values[:1], backbone(ecg()[:1]).values)


@every
def test_every_weight_learns(name: str) -> None:
    backbone = made(name)
    values = backbone(ecg()).values.square().sum()
    learns = any(True for _ in backbone.parameters())
    assert values.requires_grad == learns
    if learns:
        values.backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_knows_leads_by_name(name: str) -> None:
    backbone, order = made(name).eval(), torch.randperm(12, generator=torch.Generator().manual_seed(2))
    named = order.expand(3, -1)
    close(backbone(ecg()[:, order], named).values, backbone(ecg()).values)


@every
def test_an_absent_lead_is_one_of_zeros(name: str) -> None:
    backbone, zeroed = made(name).eval(), ecg()
    zeroed[:, 6:] = 0
    missing = torch.tensor([*range(6), *[-1] * 6]).expand(3, -1)
    close(backbone(ecg(), missing).values, backbone(zeroed).values)
    close(backbone(ecg()[:, :6], missing[:, :6]).values, backbone(zeroed).values)


@every
def test_scales_by_itself(name: str) -> None:
    plain = made(name).eval()
    scaling = made(name, Signal(seconds=2.5, scale=(0.5, 2.0))).eval()
    close(scaling(ecg()).values, plain((ecg() - 0.5) / 2).values)


@every
def test_refuses_another_length_and_unnamed_leads(name: str) -> None:
    backbone = made(name)
    with pytest.raises(ValueError, match="200 samples"):
        backbone(ecg()[:, :, :200])
    with pytest.raises(ValueError, match="8 leads"):
        backbone(ecg()[:, :8])


@every
def test_survives_a_save_and_a_load(name: str) -> None:
    first, second = made(name).eval(), parts.build("backbones", {"name": name}, wants=WANTS).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(ecg()).values, second(ecg()).values)


# Backbone + benchmark head, as counted in the published code.
LABELS = (71, 44, 23, 5, 19, 12)
COUNTS = {
    "lstm": (912_199, 908_716, 906_007, 903_685, 905_491, 904_588),
    "lstm_bidir": (2_339_143, 2_335_660, 2_332_951, 2_330_629, 2_332_435, 2_331_532),
    "fcn_wang": (318_279, 314_796, 312_087, 309_765, 311_571, 310_668),
    "resnet1d_wang": (481_863, 478_380, 475_671, 473_349, 475_155, 474_252),
    "inception1d": (516_167, 512_684, 509_975, 507_653, 509_459, 508_556),
    "xresnet1d101": (1_880_775, 1_877_292, 1_874_583, 1_872_261, 1_874_067, 1_873_164),
}


def weights(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_has_as_many_weights_as_the_benchmark(name: str) -> None:
    """With the head that the recipe gives it."""
    made = recipe.load(RECIPES / f"{name}.toml")
    backbone = parts.build("backbones", made["backbone"])
    heads = [parts.build("heads", made["head"], backbone=backbone, labels=labels) for labels in LABELS]
    assert tuple(weights(backbone, head) for head in heads) == COUNTS[name]


@pytest.mark.parametrize("name", ["lstm", "lstm_bidir"])
def test_a_special_token_has_seen_everything(name: str) -> None:
    """The forward half ends at the last sample, the backward half at the first: both know all samples."""
    backbone = made(name, Signal(seconds=0.3)).eval()
    signal = ecg(1)[:, :, :30].requires_grad_()
    special = backbone(signal).special
    assert special is not None
    for half in special[0, 0].split(256):
        (slope,) = torch.autograd.grad(half.square().sum(), signal, retain_graph=True)
        assert slope.abs().sum(1).gt(0).all()


def test_resnet18_projects_to_128_with_as_many_weights_as_published() -> None:
    backbone = parts.build("backbones", {"name": "resnet18"})
    assert weights(backbone, parts.build("heads", {"name": "project"}, backbone=backbone)) == 8_803_072


def test_the_published_lengths_of_time() -> None:
    long = Signal(leads=LEADS, hertz=250, seconds=2496 / 250)
    assert (
        parts.build("backbones", {"name": "resnet18"}, wants=long)(torch.zeros(1, 12, 2496)).values.shape[1]
        == 78
    )
    assert made("xresnet1d101")(ecg()).values.shape[1] == 8
    assert made("resnet1d_wang")(ecg()).values.shape[1] == 63
    assert made("fcn_wang")(ecg()).values.shape[1] == 249
    assert made("inception1d")(ecg()).values.shape[1] == 250


def test_named_leads_keep_every_digit_in_half_precision() -> None:
    order = torch.arange(11, -1, -1)
    with torch.autocast("cpu", torch.bfloat16):
        picked, _ = made("resnet18").ordered(ecg()[:, order], order.expand(3, -1))
    assert torch.equal(picked, ecg())
