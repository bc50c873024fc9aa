"""What learning from hidden patches shares: the target, its error, and a watch over collapse."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from einthoven.layers.pool import mean
from einthoven.types import Method, PatchBackbone, Patches, Tokens

LEAST_SD = 0.06  # of features of unit size: below, all ECGs look alike
LEAST_RANK = 2.0
ENOUGH = 16  # records, to speak of a rank


def normalised(values: Float[Tensor, "batch patch samples"]) -> Float[Tensor, "batch patch samples"]:
    """Bring every patch to mean 0 and variance 1 (unbiased): small waves count as much as large ones."""
    level, height = level_and_height(values)
    return (values.float() - level) / height


def level_and_height(
    values: Float[Tensor, "batch patch samples"],
) -> tuple[Float[Tensor, "batch patch 1"], Float[Tensor, "batch patch 1"]]:
    """Return the mean and the deviation of every patch: what `normalised` takes away."""
    level = values.float().mean(2, keepdim=True)
    power = (values.float() - level).square().sum(2, keepdim=True) / (values.shape[2] - 1)
    return level, (power + 1e-6).sqrt()


def error(
    guess: Float[Tensor, "batch patch samples"],
    target: Float[Tensor, "batch patch samples"],
    real: Bool[Tensor, "batch patch"] | None,
) -> Float[Tensor, ""]:
    """Return the mean squared error over the patches that are there."""
    each = (guess.float() - target.float()).square().mean(2)
    if real is None:
        return each.mean()
    return (each * real).sum() / real.sum().clamp(min=1)


@torch.no_grad()
def spread(tokens: Tokens) -> dict[str, Tensor]:
    """Measure whether the ECGs of a batch still differ: feature_sd, and effective_rank.

    feature_sd is the standard deviation of a token over the batch, in units of the tokens' root mean square;
    effective_rank is exp(entropy) of the singular values of the centred features (Roy & Vetterli 2007).
    """
    with torch.autocast(tokens.values.device.type, enabled=False):
        values, features = tokens.values.float(), mean(tokens).float()
        size = values.square().mean().sqrt().clamp(min=1e-12)
        told = {"feature_sd": values.var(0, correction=0).mean().sqrt() / size}
        if len(features) >= ENOUGH:
            centred = (features - features.mean(0)) / size
            power = torch.linalg.eigvalsh(centred @ centred.T).clamp(min=0).sqrt()
            told["effective_rank"] = torch.special.entr(power / power.sum().clamp(min=1e-12)).sum().exp()
    return told


def watched(method: Method, patches: Patches) -> dict[str, Tensor]:
    """Measure the spread of whole ECGs when a method is validated: hidden places would tell records apart."""
    if method.training or not isinstance(method.backbone, PatchBackbone):
        return {}
    with torch.no_grad():
        return spread(method.backbone.encode(patches))


def collapsed(logs: Mapping[str, float]) -> Sequence[str]:
    """Say whether features have collapsed, by the means of what `spread` measured."""
    sd, rank = logs.get("feature_sd", 1.0), logs.get("effective_rank", LEAST_RANK)
    if sd >= LEAST_SD and rank >= LEAST_RANK:
        return ()
    return (
        f"The features have collapsed: sd {sd:.3f} (from {LEAST_SD:g}), effective rank {rank:.1f} (from "
        f"{LEAST_RANK:g}): every ECG looks alike. Lower [train] lr, or hide more.",
    )
