"""ECG-JEPA: predict what a slow teacher sees at hidden times. Kim 2024, arXiv:2410.08559."""

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.attention import Blocks, sincos, three
from einthoven.layers.mask import (
    at_times,
    block_times,
    kept_of,
    random_times,
    refuse_blocks,
    refuse_share,
    times_of,
)
from einthoven.layers.masked import collapsed, spread
from einthoven.layers.pool import mean
from einthoven.types import Batch, Method, Outputs, PatchBackbone, Patches, Tokens

__all__ = ["ECGJEPA"]

HIDE = {"random": (0.6, 0.7), "block": (0.175, 0.225)}  # as published: of all times; of a block's length


class ECGJEPA(Method):
    """Hide the same times of all leads and records; a predictor says, lead by lead, what a teacher sees.

    `mask` hides times at random, a share drawn from `hide`; or four blocks, each of a share drawn from
    `hide`. The teacher sees the whole ECG and follows the student: its share of itself rises in a line from
    `momentum` to 1. `predictor` is [width, blocks, heads]; the published one is [384, 6, 12].
    """

    backbone: PatchBackbone

    def __init__(
        self,
        backbone: PatchBackbone,
        *,
        mask: Literal["random", "block"] = "block",
        hide: Sequence[float] = (),
        momentum: float = 0.996,
        predictor: Sequence[int] = (96, 3, 4),
    ):
        super().__init__()
        hide = tuple(hide) or HIDE[mask]
        if len(hide) != 2:
            raise ValueError(f"Method 'ecg_jepa': hide is two shares, [from, to]; got {list(hide)}.")
        low, high = hide
        refuse_share("ecg_jepa", low, high)
        refuse = kept_of if mask == "random" else refuse_blocks
        refuse(times_of(backbone), high)  # before anything runs
        if not 0 <= momentum <= 1:
            raise ValueError(f"Method 'ecg_jepa' needs momentum from 0 to 1, got {momentum:g}.")
        width, depth, heads = three("Option 'predictor' of method 'ecg_jepa'", predictor)
        self.backbone, self.mask, self.hide, self.momentum = backbone, mask, (low, high), momentum
        self.teacher = copy.deepcopy(backbone).requires_grad_(False)
        self.bring, self.send = nn.Linear(backbone.dim, width), nn.Linear(width, backbone.dim)
        self.blank = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = Blocks(width, depth, heads)

    def outputs(self, batch: Batch) -> Outputs:
        """Answer from the student."""
        return Outputs(features=mean(self.backbone(batch.ecg, batch.leads)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        rows = patches.rows or 1
        steps = patches.lead.shape[1] // rows
        times = (random_times if self.mask == "random" else block_times)(steps, *self.hide)
        read, hide = at_times(patches, times)
        kept, hidden = (patches.take(where, rows, aligned=True) for where in (read, hide))
        visible = self.bring(self.backbone.encode(kept).values)
        parts = [x.unflatten(1, (rows, -1)) for x in (visible, self.blank.expand(*hidden.lead.shape, -1))]
        time = torch.cat([x.time.unflatten(1, (rows, -1)) for x in (kept, hidden)], 2).flatten(0, 1)
        sequence = torch.cat(parts, 2).flatten(0, 1)  # leads folded into the batch
        said = self.blocks(sequence, again=sincos(time, self.blank.shape[2]))[:, parts[0].shape[2] :]
        guess = self.send(said).unflatten(0, (-1, rows)).flatten(1, 2)
        with torch.no_grad():
            whole = self.teacher.encode(patches).values.float()
            taught = F.layer_norm(whole, whole.shape[2:])
            target = patches._replace(values=taught).take(hide).values
        each = F.smooth_l1_loss(guess.float(), target, reduction="none").mean(2)
        real = torch.ones_like(each) if hidden.real is None else hidden.real.to(each.dtype)
        loss = (each * real).sum() / real.sum().clamp(min=1)
        if self.training:
            return {"loss": loss}
        told = spread(Tokens(taught, patches.real))
        return {"loss": loss, "over_place": loss / by_place(taught, patches, hide)} | told

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student, ever more slowly."""
        pace = (1 - self.momentum) * (1 - progress)
        slow: list[Tensor] = [*self.teacher.parameters()]
        fast: list[Tensor] = [*self.backbone.parameters()]
        torch._foreach_lerp_(slow, fast, pace)

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether all ECGs look alike, or are guessed by where a patch is."""
        if (over := logs.get("over_place", 0.0)) < 1:
            return collapsed(logs)
        return (
            *collapsed(logs),
            f"Hidden features are guessed no better than by their place alone (over_place {over:.2f}, good "
            "below 1): so far it has learned where a patch is, and no ECG. Say more [train] steps.",
        )


def by_place(
    taught: Float[Tensor, "batch patch dim"], patches: Patches, hide: Int[Tensor, "batch hidden"]
) -> Float[Tensor, ""]:
    """Return the loss of a guess that sees no ECG: at each place the mean of the batch's features there."""
    real = torch.ones_like(taught[..., 0]) if patches.real is None else patches.real.to(taught.dtype)
    usual = (taught * real[..., None]).sum(0) / real.sum(0).clamp(min=1)[:, None]
    each = F.smooth_l1_loss(usual.expand_as(taught), taught, reduction="none").mean(2).gather(1, hide)
    real = real.gather(1, hide)
    return (each * real).sum() / real.sum().clamp(min=1)
