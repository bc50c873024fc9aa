"""Time-frequency consistency against its definition, and what a spectrum is."""

import numpy as np
import pytest
import torch

from einthoven import parts
from einthoven.layers.several import Heads, Losses
from einthoven.methods.tf_c import TFC, spectrum
from einthoven.types import Backbone, Batch, Outputs, Signal


def method(**options: float) -> TFC:
    torch.manual_seed(0)
    wants = Signal(seconds=0.64)
    table = {"name": "resnet1d_wang", "width": 4}
    time, frequency = (parts.build("backbones", table, wants=wants) for _ in range(2))
    heads = Heads([parts.build("heads", {"name": "project", "size": 6}, dim=time.dim)])
    losses = Losses({"nt_xent": parts.build("losses", {"name": "nt_xent"})}, {"nt_xent": 1.0})
    return TFC(time, heads, losses, frequency=frequency, **options)


def views() -> Batch:
    """Four records, two views of each."""
    ecg = torch.randn(8, 12, 64, generator=torch.Generator().manual_seed(1))
    row = torch.arange(4).repeat(2)
    return Batch(ecg=ecg, row=row, patient=row)


def slow(embedding: torch.Tensor, row: torch.Tensor) -> float:
    """NT-Xent by loops."""
    unit = (embedding / embedding.norm(dim=1, keepdim=True)).double()
    terms = []
    for i in range(len(row)):
        kin = [j for j in range(len(row)) if j != i and row[j] == row[i]]
        rest = [j for j in range(len(row)) if row[j] != row[i]]
        away = sum(float((unit[i] @ unit[k] / 0.1).exp()) for k in rest)
        for j in kin:
            own = float((unit[i] @ unit[j] / 0.1).exp())
            terms.append(-np.log(own / (own + away)))
    return float(np.mean(terms))


def test_a_spectrum_has_the_energy_of_its_ecg_and_no_phase() -> None:
    ecg = views().ecg
    held = spectrum(ecg)
    torch.testing.assert_close(held.square().sum(2), ecg.square().sum(2))
    torch.testing.assert_close(spectrum(ecg.roll(7, 2)), held)
    wave = torch.cos(2 * torch.pi * 5 * torch.arange(64) / 64).expand(1, 12, 64)
    assert spectrum(wave)[0, 0].argsort(descending=True)[:2].sort().values.tolist() == [5, 59]


@pytest.mark.parametrize("consistency", [0.0, 0.8, 1.0])
def test_the_loss_is_the_three_of_the_paper(consistency: float) -> None:
    tfc, batch = method(consistency=consistency).eval(), views()
    with torch.no_grad():
        logs = tfc(batch)
        time = tfc.heads(tfc.backbone(batch.ecg))["embedding"]
        frequency = tfc.spectral_heads(tfc.frequency(spectrum(batch.ecg)))["embedding"]
    each = [slow(time, batch.row), slow(frequency, batch.row)]
    both = slow(torch.cat([time, frequency]), batch.row.repeat(2))
    assert float(logs["loss"]) == pytest.approx((1 - consistency) * sum(each) + consistency * both, rel=1e-4)


def test_both_networks_learn_and_answers_are_those_of_time() -> None:
    tfc, batch = method(), views()
    tfc.train()(batch)["loss"].backward()
    still = [name for name, weight in tfc.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []
    tfc.eval()
    with torch.no_grad():
        before = tfc.outputs(batch)
        for weight in tfc.frequency.parameters():
            weight.zero_()
        after: Outputs = tfc.outputs(batch)
    torch.testing.assert_close(before["features"], after["features"])
    assert isinstance(tfc.backbone, Backbone)


def test_a_spectrum_is_perturbed_in_training_only() -> None:
    tfc, batch = method(perturb=0.2), views()
    with torch.no_grad():
        still = [float(tfc.eval()(batch)["loss/frequency"]) for _ in range(2)]
        assert still[0] == still[1]
        whole = spectrum(batch.ecg)
        moved = tfc.perturbed(whole)
    assert 0.15 < float((moved == 0).float().mean()) < 0.25
    more = moved > whole
    assert 0.1 < float(more.float().mean()) < 0.25
    assert float((moved - whole)[more].max()) <= float(whole.max()) / 2
    torch.testing.assert_close(moved[(moved != 0) & ~more], whole[(moved != 0) & ~more])


@pytest.mark.parametrize("options", [{"consistency": 1.5}, {"perturb": 0.5}])
def test_what_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="consistency from 0 to 1 and perturb"):
        method(**options)
