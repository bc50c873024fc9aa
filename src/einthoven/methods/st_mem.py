"""ST-MEM: masked autoencoding in space and time, drawn lead by lead. Na et al. 2024, arXiv:2402.09450."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.attention import Blocks, sincos, three
from einthoven.layers.mask import grid, kept_of, per_lead, refuse_share, times_of
from einthoven.layers.masked import collapsed, error, normalised, watched
from einthoven.layers.pool import mean
from einthoven.layers.redraw import hidden_redrawn, redraw
from einthoven.types import Batch, Method, Outputs, PatchBackbone, Patches, Tokens

__all__ = ["STMEM"]


class STMEM(Method):
    """Each lead hides its own times; one decoder for all leads knows a lead by its two SEP tokens alone.

    `hide` is the share of each lead's patches that is hidden (rounded up: 23 of 30 at 0.75), `decoder` its
    [width, blocks, heads]; the published one is [256, 4, 4].
    """

    backbone: PatchBackbone

    def __init__(self, backbone: PatchBackbone, *, hide: float = 0.75, decoder: Sequence[int] = (128, 2, 4)):
        super().__init__()
        refuse_share("st_mem", hide)
        kept_of(times_of(backbone), hide)  # refused before anything runs
        if getattr(backbone, "special", "sep") != "sep":
            raise ValueError(
                "Method 'st_mem' knows leads by their SEP tokens: say [backbone] special = 'sep'."
            )
        width, depth, heads = three("Option 'decoder' of method 'st_mem'", decoder)
        self.backbone, self.hide = backbone, hide
        self.bring = nn.Linear(backbone.dim, width)
        self.blank = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = Blocks(width, depth, heads)
        self.draw = nn.Linear(width, backbone.patch[0] * backbone.patch[1])

    def outputs(self, batch: Batch) -> Outputs:
        """Answer."""
        return Outputs(features=mean(self.backbone(batch.ecg, batch.leads)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        kept, hidden = (patches.take(where, patches.rows) for where in per_lead(patches, self.hide))
        seen = self.backbone.encode(kept)
        loss = error(self.decode(seen, kept, hidden), normalised(hidden.values), hidden.real)
        return {"loss": loss} | watched(self, patches)

    def decode(self, seen: Tokens, kept: Patches, hidden: Patches) -> Float[Tensor, "batch hidden samples"]:
        """Fold leads into the batch: each has its blanks, its visible tokens and its own SEPs."""
        if seen.special is None:
            raise ValueError(
                "Method 'st_mem' needs a backbone with SEP tokens; this one has no special token."
            )
        rows, width = grid(kept)[1], self.blank.shape[2]
        blanks = self.blank + sincos(hidden.time, width)
        visible = self.bring(seen.values) + sincos(kept.time, width)
        parts = [x.unflatten(1, (rows, -1)) for x in (blanks, visible, self.bring(seen.special))]
        drawn = self.blocks(torch.cat(parts, 2).flatten(0, 1))[:, : parts[0].shape[2]]
        guess: Tensor = self.draw(drawn).unflatten(0, (-1, rows)).flatten(1, 2)
        return guess

    @torch.no_grad()
    def drawn(self, batch: Batch) -> Float[Tensor, "batch wanted time"]:
        """Hide as in training and draw the hidden patches, in mV; NaN elsewhere.

        The network aims at normalised patches and says their shape alone: each is drawn in the mean and the
        deviation of the true patch.
        """
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        places = per_lead(patches, self.hide)
        kept, hidden = (patches.take(where, patches.rows) for where in places)
        guess = self.decode(self.backbone.encode(kept), kept, hidden)
        return redraw(hidden_redrawn(guess, places[1], patches), patches, self.backbone, batch)

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether all ECGs look alike."""
        return collapsed(logs)
