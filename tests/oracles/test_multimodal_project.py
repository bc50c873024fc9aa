"""What is taken from the PTB-XL multimodal project (2023): its two encoders, noise, masks, balance."""

import pytest
import torch
import torch.nn.functional as F

from einthoven import parts
from einthoven.ecg import Signal
from einthoven.types import Batch


def weights(*modules: torch.nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def test_the_cnn_is_three_convolutions_and_two_dense_layers() -> None:
    """By torch's 1-d functions, at 1,000 samples and at another length."""
    for seconds, places in ((10.0, 122), (2.5, 28), (0.3, 1)):
        cnn = parts.build("backbones", {"name": "cnn"}, wants=Signal(seconds=seconds)).eval()
        ecg = torch.randn(2, 12, round(100 * seconds))
        x, held = ecg, cnn.state_dict()
        for stage in (0, 4, 8):
            x = F.conv1d(x, held[f"body.{stage}.weight"].squeeze(2), held[f"body.{stage}.bias"])
            x = F.max_pool1d(x.relu(), 2)
        x = x.transpose(1, 2)
        for layer in (0, 2):
            x = (x @ held[f"dense.{layer}.weight"].T + held[f"dense.{layer}.bias"]).relu()
        assert x.shape == (2, places, 128)
        torch.testing.assert_close(cnn(ecg).values, x, atol=1e-4, rtol=1e-4)


def test_the_cnn_has_the_published_weights_but_for_places() -> None:
    cnn = parts.build("backbones", {"name": "cnn"})
    flattened = 122 * 48 * 512 - 48 * 512  # what reading all places at once takes more
    assert weights(cnn) + flattened + (128 * 5 + 5) == 3_073_701
    batch_norms = 2 * (16 + 32 + 48)
    assert weights(parts.build("backbones", {"name": "cnn", "norm": "batch"})) == weights(cnn) + batch_norms


def test_the_cnn_drops_whole_channels_in_training_only() -> None:
    cnn = parts.build(
        "backbones", {"name": "cnn", "norm": "batch", "dropout": 0.5}, wants=Signal(seconds=1.0)
    )
    ecg = torch.randn(2, 12, 100)
    assert not torch.equal(cnn(ecg).values, cnn(ecg).values)
    cnn.eval()
    assert torch.equal(cnn(ecg).values, cnn(ecg).values)


def test_the_cnn_refuses_what_its_stages_use_up() -> None:
    with pytest.raises(ValueError, match="reads 30 samples or more, got 29"):
        parts.build("backbones", {"name": "cnn"}, wants=Signal(seconds=0.29))


def test_the_lstm_is_one_of_ours() -> None:
    """LSTM(12 -> 64, 2 layers), its last step, dense 64 to 64 to 5: 57,733 weights but for batch norms."""
    lstm = parts.build("backbones", {"name": "lstm", "width": 64, "layers": 2})
    table = {"name": "linear", "pool": ["special"], "hidden": [64]}
    head = parts.build("heads", table, dim=lstm.dim, labels=5)
    batch_norms = 2 * (64 + 64)
    assert weights(lstm, head) - batch_norms == 57_733


def test_their_noise_is_ours_at_40_decibel() -> None:
    """Gaussian, of 0.01 times the sd of each lead of each record."""
    ecg = torch.randn(40, 12, 1000) * torch.linspace(0.1, 2, 12)[:, None]
    row = torch.arange(40)
    noise = parts.build("augments", {"name": "noise", "decibel": [40.0, 40.0], "probability": 1.0})
    added = noise(Batch(ecg=ecg, row=row, patient=row)).ecg - ecg
    ratio = added.std(2, unbiased=False) / ecg.std(2, unbiased=False)
    assert float(ratio.mean()) == pytest.approx(0.01, rel=0.01) and float(ratio.std()) < 0.001


def masked(hertz: float = 100.0, records: int = 400, **options: object) -> torch.Tensor:
    """Return what is hidden of records of ten seconds: (record, lead, time)."""
    augment = parts.build("augments", {"name": "random_masks"} | options, wants=Signal(hertz=hertz))
    row = torch.arange(records)
    given = Batch(ecg=torch.ones(records, 12, round(10 * hertz)), row=row, patient=row)
    hidden: torch.Tensor = augment(given).ecg == 0
    return hidden


def lengths(hidden: torch.Tensor) -> torch.Tensor:
    """Return how long each hidden stretch is that neither begins nor ends with its record."""
    edges = F.pad(hidden[:, 0].int(), (1, 1)).diff(dim=1)
    first, last = (edges == 1).nonzero(), (edges == -1).nonzero()
    inside = (first[:, 1] > 0) & (last[:, 1] < hidden.shape[2])
    return (last - first)[inside, 1]


def test_masks_hide_a_tenth_of_the_records_chosen_all_leads_at_once() -> None:
    hidden = masked()
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    chosen = hidden.flatten(1).any(1)
    assert float(chosen.float().mean()) == pytest.approx(0.3, abs=0.07)
    share = float(hidden[chosen].float().mean())
    assert share == pytest.approx(1 - (1 - 0.0083) ** 13, abs=0.01)  # 13 samples on average can cover a place
    along = hidden[chosen, 0].float().mean(0)  # the edges of a record are hidden as often as its middle
    assert float(along[:18].mean()) == pytest.approx(share, abs=0.03)


def test_a_mask_is_80_to_180_ms_long() -> None:
    hidden = masked(rate=0.05, probability=1.0, records=1500)  # so few that they seldom meet
    for_sure = lengths(hidden)
    assert len(for_sure) > 300
    assert for_sure.min() == 8 and for_sure.float().quantile(0.95) <= 18
    assert set(range(8, 19)) <= set(for_sure.tolist())
    assert lengths(masked(hertz=500.0, rate=0.05, probability=1.0)).min() >= 40


@pytest.mark.parametrize("options", [{"seconds": [0.2, 0.1]}, {"seconds": [0.0, 0.1]}, {"rate": -1.0}])
def test_masks_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="'random_masks' needs seconds"):
        masked(**options)


def test_balance_draws_what_they_deleted() -> None:
    """Each of five classes equally often, though the first holds most records; none is left out for good."""
    target = torch.zeros(1000, 5)
    target[torch.arange(1000), torch.cat([torch.zeros(800), torch.arange(200) % 4 + 1]).long()] = 1
    offers = {"rows": torch.arange(1000), "targets": target, "batch": 50, "seed": 0}
    sampler = parts.build("samplers", {"name": "balanced"}, **offers)
    drawn = torch.cat([sampler.plan(epoch).flatten() for epoch in range(20)])
    share = target[drawn].mean(0)
    assert torch.allclose(share, torch.full((5,), 0.2), atol=0.02)
    assert len(drawn.unique()) > 950
