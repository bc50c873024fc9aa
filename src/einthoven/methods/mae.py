"""Masked autoencoding: draw the hidden patches from the visible ones. He et al. 2022, arXiv:2111.06377."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.attention import Blocks, Sight, sincos, three
from einthoven.layers.mask import anywhere, kept_of, places_of, refuse_share
from einthoven.layers.masked import collapsed, error, normalised, watched
from einthoven.layers.pool import mean
from einthoven.layers.redraw import hidden_redrawn, redraw
from einthoven.types import LEADS, Batch, Method, Outputs, PatchBackbone, Patches, Tokens

__all__ = ["MAE"]


class MAE(Method):
    """One decoder over all patches, which are told apart by lead and time.

    With `[backbone] together = true` a patch is a time of all leads (MTAE); with a patch as long as the
    window it is a lead (MLAE); else a time of a lead. `hide` is the share of the patches that is hidden,
    `decoder` is [width, blocks, heads]. Hidden patches are drawn in their own mean and deviation.
    """

    backbone: PatchBackbone

    def __init__(self, backbone: PatchBackbone, *, hide: float = 0.75, decoder: Sequence[int] = (128, 2, 4)):
        super().__init__()
        refuse_share("mae", hide)
        kept_of(places_of(backbone), hide)  # refused before anything runs
        width, depth, heads = three("Option 'decoder' of method 'mae'", decoder)
        self.backbone, self.hide = backbone, hide
        self.bring = nn.Linear(backbone.dim, width)
        self.blank = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.lead = nn.Parameter(0.02 * torch.randn(len(LEADS) + 1, width))
        self.blocks = Blocks(width, depth, heads)
        self.draw = nn.Linear(width, backbone.patch[0] * backbone.patch[1])

    def outputs(self, batch: Batch) -> Outputs:
        """Answer."""
        return Outputs(features=mean(self.backbone(batch.ecg, batch.leads)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        kept, hidden = (patches.take(where) for where in anywhere(patches, self.hide))
        seen = self.backbone.encode(kept)
        loss = error(self.decode(seen, kept, hidden), normalised(hidden.values), hidden.real)
        return {"loss": loss} | watched(self, patches)

    def decode(self, seen: Tokens, kept: Patches, hidden: Patches) -> Float[Tensor, "batch hidden samples"]:
        """Draw what is hidden: all patches of a record see each other."""
        width = self.blank.shape[2]
        visible = self.bring(seen.values) + sincos(kept.time, width) + self.lead[kept.lead]
        blanks = self.blank + sincos(hidden.time, width) + self.lead[hidden.lead]
        real = None
        if kept.real is not None and hidden.real is not None:
            real = torch.cat([hidden.real, kept.real], 1)
        drawn = self.blocks(torch.cat([blanks, visible], 1), Sight(real))[:, : blanks.shape[1]]
        guess: Tensor = self.draw(drawn)
        return guess

    @torch.no_grad()
    def drawn(self, batch: Batch) -> Float[Tensor, "batch wanted time"]:
        """Hide as in training and draw the hidden patches, in mV; NaN elsewhere.

        The network aims at normalised patches and says their shape alone: each is drawn in the mean and the
        deviation of the true patch.
        """
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        places = anywhere(patches, self.hide)
        kept, hidden = (patches.take(where) for where in places)
        guess = self.decode(self.backbone.encode(kept), kept, hidden)
        return redraw(hidden_redrawn(guess, places[1], patches), patches, self.backbone, batch)

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether all ECGs look alike."""
        return collapsed(logs)
