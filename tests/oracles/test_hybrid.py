"""A backbone of rules beside a network: features against their definition, and what it starts from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cohorts import heartbeat, store_of
from einthoven import parts, rhythm
from einthoven.checkpoint import read
from einthoven.data.store import Store
from einthoven.ecg import LEADS, Signal
from einthoven.plan import plan
from einthoven.predict import load
from einthoven.run import train
from einthoven.types import Backbone
from einthoven.wavelet import wavelet_features

WANTS = Signal(seconds=10.0)
VIT: dict[str, Any] = {"name": "vit", "size": [24, 1, 2], "patch": 0.25}
COUNT = len(rhythm.NAMES)


def made(wants: Signal = WANTS, **table: Any) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = parts.build("backbones", {"name": "hybrid", **table}, wants=wants)
    return backbone.eval()


def ecgs(records: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(5)
    return torch.from_numpy(np.stack([heartbeat(rng) for _ in range(records)]))


def test_rules_alone_are_one_token_in_fixed_units() -> None:
    backbone = made(Signal(seconds=10.0, scale=(0.1, 0.25)))
    values = backbone(ecgs()).values
    assert values.shape == (3, 1, backbone.dim) and backbone.dim == 2 * COUNT
    rate, sdnn, rmssd, r, st, qrs, beats = rhythm.features(ecgs().numpy(), 100.0).T
    units = [(rate - 70) / 15, (sdnn - 40) / 40, (rmssd - 40) / 40, r / 0.25, st / 0.25 / 0.1]
    wanted = np.arcsinh(np.stack([*units, (qrs - 95) / 15, beats / 5], axis=1))
    np.testing.assert_allclose(values[:, 0, :COUNT], wanted, rtol=1e-5)
    assert not values[:, 0, COUNT:].any()


def test_missing_samples_are_no_heartbeats() -> None:
    """A loader puts zeros where samples are missing; a step from a wandering baseline to 0 is no beat."""
    whole = ecgs().numpy() + 0.4 * np.sin(np.arange(1000) / 130).astype(np.float32)
    holed, gap = whole.copy(), whole.copy()
    holed[:, :, 430:500], gap[:, :, 430:500] = 0, np.nan
    told = made()(torch.from_numpy(holed)).values[:, 0]
    unknown = made()(torch.from_numpy(gap)).values[:, 0]
    np.testing.assert_allclose(told, unknown, rtol=1e-5)
    naive = rhythm.features(holed, 100.0)[:, :3]
    assert np.abs(naive - rhythm.features(gap, 100.0)[:, :3]).max() > 1


def test_what_is_unknown_is_zero_and_says_so() -> None:
    silent = torch.zeros(1, 12, 1000)
    told = made()(silent).values[0, 0]
    assert told[:COUNT].tolist() == [0.0] * COUNT  # no beat, and the rest unknown
    assert told[COUNT:].tolist() == [1.0] * (COUNT - 1) + [0.0]
    without = ecgs(1)
    named = torch.tensor([[-1 if lead == "II" else place for place, lead in enumerate(LEADS)]])
    told = made()(without, named).values[0, 0]
    lacks = [name for name, unknown in zip(rhythm.NAMES, told[COUNT:], strict=True) if unknown]
    assert lacks == ["r_mv", "st_mv"]


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.0, 1.5, 2.5])
def test_a_window_without_a_whole_beat_is_measured_too(seconds: float) -> None:
    backbone = made(Signal(seconds=seconds))
    noise = torch.randn(50, 12, backbone.wants.samples)
    assert backbone(noise).values.isfinite().all()


def test_wavelet_statistics_are_those_of_the_scaled_ecg() -> None:
    backbone = made(Signal(seconds=10.0, scale=(0.1, 0.25)), features=["wavelet", "rhythm"])
    assert backbone.dim == 864 + 2 * COUNT
    values = backbone(ecgs()).values[:, 0]
    wanted = np.arcsinh(wavelet_features(((ecgs() - 0.1) / 0.25).numpy()))
    np.testing.assert_allclose(values[:, :864], wanted, atol=1e-5)
    rules = made(Signal(seconds=10.0, scale=(0.1, 0.25)))(ecgs()).values[:, 0]
    assert torch.equal(values[:, 864:], rules)


def test_every_token_is_that_of_the_network_with_the_same_features_beside_it() -> None:
    for special in ("none", "sep"):
        hybrid = made(inner={**VIT, "special": special})
        torch.manual_seed(0)
        alone = parts.build("backbones", {**VIT, "special": special}, wants=WANTS).eval()
        both, tokens, rules = hybrid(ecgs()), alone(ecgs()), made()(ecgs()).values
        assert hybrid.dim == 24 + 2 * COUNT
        assert torch.equal(both.values[..., :24], tokens.values)
        assert torch.equal(both.values[..., 24:], rules.expand(-1, tokens.values.shape[1], -1))
        assert (both.special is None) == (tokens.special is None)
        if both.special is not None:
            assert torch.equal(both.special[:, :, 24:], rules.expand(-1, both.special.shape[1], -1))


def test_the_network_learns_and_rules_stay_exact_in_half_precision() -> None:
    hybrid = made(inner=VIT).train()
    with torch.autocast("cpu", torch.bfloat16):
        values = hybrid(ecgs(), torch.arange(12).expand(3, -1)).values
    assert torch.equal(values[:, :1, 24:].float(), made()(ecgs()).values)
    values.float().square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in hybrid.parameters())


def test_refuses_features_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="each once"):
        made(features=["rhythm", "rhythm"])
    with pytest.raises(ValueError, match="each once"):
        made(features=[])
    with pytest.raises(ValueError, match=r"Option 'features' is .*rhythm.*wavelet.*; got \('heart',\)"):
        made(features=["heart"])
    with pytest.raises(ValueError, match="hertz = 40"):
        made(Signal(hertz=40.0))


ALONE: dict[str, Any] = {
    "split": {"by": "patient", "shares": [0.5, 0.2, 0.3]},
    "signal": {"seconds": 1.0, "scale": "train"},
    "backbone": {**VIT, "special": "sep"},
    "method": {"name": "st_mem", "decoder": [24, 1, 2]},
    "train": {"steps": 2, "batch": 8},
    "evaluate": {"resamples": 10, "rows": [], "examples": 0},
}
PROBE: dict[str, Any] = {
    **{key: ALONE[key] for key in ("split", "signal", "evaluate")},
    "task": {"column": "big"},
    "backbone": {"name": "hybrid", "freeze": True, "inner": {"name": "vit"}},
    "head": {"name": "probe"},
    "loss": {"name": "bce"},
    "train": {"solver": "probe", "batch": 8},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [{"big": i % 2, "age": 50.0, "patient": i} for i in range(40)]
    return store_of(tmp_path_factory.mktemp("hybrid") / "store", rows, signal=True)


def test_its_network_starts_from_a_plain_run_wherever_the_recipe_says_so(
    store: Store, tmp_path: Path
) -> None:
    """The options and the scale are those of that run; nobody of its training is tested."""
    alone = train(ALONE, store.path, tmp_path / "alone")
    start = {"start": str(alone)}
    inside = {**PROBE, "backbone": {**PROBE["backbone"], "inner": {"name": "vit", **start}}}
    outside = {**PROBE, "backbone": {**PROBE["backbone"], **start}}  # as --start writes it
    planned = [plan(recipe, store) for recipe in (inside, outside)]
    assert planned[0].recipe == planned[1].recipe
    assert planned[0].recipe["backbone"]["inner"] == {**ALONE["backbone"], **start}
    assert planned[0].wants.scale == read(alone / "weights.safetensors")[1].scale
    assert {who for who in planned[0].held.values()} == {0, 1, 2}

    run = train(outside, store.path, tmp_path / "probe")
    theirs, mine = (read(one / "weights.safetensors")[0] for one in (alone, run))
    names = [name.removeprefix("backbone.") for name in theirs if name.startswith("backbone.")]
    assert names and all(
        torch.equal(theirs[f"backbone.{name}"], mine[f"backbone.inner.{name}"]) for name in names
    )

    (alone / "weights.safetensors").unlink()  # a finished run needs no other
    assert load(run).method.backbone.dim == 24 + 2 * COUNT
