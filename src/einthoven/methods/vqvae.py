"""VQ-VAE on tokens: say an ECG in words of a codebook, one a patch, and draw it again from them.

van den Oord et al. 2017, arXiv:1711.00937; the codebook learns as in Dhariwal et al. 2020, arXiv:2005.00341.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.attention import Blocks, Sight, sincos, three
from einthoven.layers.codebook import Codebook, Quantised
from einthoven.layers.mask import grid
from einthoven.layers.masked import error
from einthoven.layers.pool import mean
from einthoven.layers.redraw import redraw
from einthoven.types import LEADS, Batch, Method, Outputs, PatchBackbone, Patches

__all__ = ["VQVAE"]

LEAST_WORDS = 4.0  # codes in use at one place, over the ECGs of a batch: below, they name the place
LEAST_USE = 0.25  # of the codes, by perplexity: below, the codebook is collapsing


class VQVAE(Method):
    """Each token, brought to `size` numbers, becomes the nearest of `codes` codes; a decoder draws its patch.

    Loss: mean squared error of the patches as the backbone scales them + `beta` x commitment. `decoder` is
    [width, blocks, heads]; it reads lead by lead, or with `across` all leads of an ECG at once. `unit`
    compares codes and tokens by direction. The codebook is no weight: it follows its tokens (`decay`).
    Let the backbone not norm its patches (vit: code = "fixed"), or it cannot say their level and height.
    """

    backbone: PatchBackbone

    def __init__(
        self,
        backbone: PatchBackbone,
        *,
        codes: int = 512,
        size: int = 64,
        beta: float = 0.25,
        decoder: Sequence[int] = (128, 2, 4),
        across: bool = False,
        decay: float = 0.99,
        unit: bool = False,
    ):
        super().__init__()
        if beta < 0:
            raise ValueError(f"Method 'vqvae' needs beta from 0, got {beta:g}.")
        width, depth, heads = three("Option 'decoder' of method 'vqvae'", decoder)
        self.backbone, self.beta, self.across = backbone, beta, across
        self.narrow = nn.Linear(backbone.dim, size)
        self.codebook = Codebook(codes, size, decay=decay, unit=unit)
        self.bring = nn.Linear(size, width)
        self.lead = nn.Parameter(0.02 * torch.randn(len(LEADS) + 1, width))
        self.blocks = Blocks(width, depth, heads)
        self.draw = nn.Linear(width, backbone.patch[0] * backbone.patch[1])

    def outputs(self, batch: Batch) -> Outputs:
        """Answer with the mean token as it was before the codebook.

        So it is what a run that starts from this backbone reads, and nothing is rounded away.
        """
        return Outputs(features=mean(self.backbone(batch.ecg, batch.leads)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn."""
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        said = self.said(patches)
        missed = error(self.decode(said.values, patches), patches.values, patches.real)
        return {
            "loss": missed + self.beta * said.commitment,
            "loss/reconstruction": missed,
            "loss/commitment": said.commitment,
            "perplexity": said.perplexity,
        } | ({} if self.training else {"perplexity_of_place": of_place(said.code)})

    def said(self, patches: Patches) -> Quantised:
        """Say patches in codes."""
        quantised: Quantised = self.codebook(self.narrow(self.backbone.encode(patches).values), patches.real)
        return quantised

    def decode(
        self, values: Float[Tensor, "batch patch dim"], patches: Patches
    ) -> Float[Tensor, "batch patch samples"]:
        """Draw patches from their codes, of which those of a lead, or all of an ECG, see each other."""
        batch, rows, _ = grid(patches)
        rows = 1 if self.across else rows
        words = self.bring(values) + sincos(patches.time, self.lead.shape[1]) + self.lead[patches.lead]
        real = None if patches.real is None else patches.real.unflatten(1, (rows, -1)).flatten(0, 1)
        if real is not None:
            real = real | ~real.any(1, keepdim=True)  # an absent lead sees itself: nobody looks at it
        drawn = self.draw(self.blocks(words.unflatten(1, (rows, -1)).flatten(0, 1), Sight(real)))
        by_row: Tensor = drawn.unflatten(0, (batch, rows))
        return by_row.flatten(1, 2)

    @torch.no_grad()
    def codes(self, batch: Batch) -> Int[Tensor, "batch patch"]:
        """Say ECGs in codes (eval mode), one for each patch of `patchify`; -1 where a lead is absent."""
        return self.said(self.backbone.patchify(batch.ecg, batch.leads)).code

    @torch.no_grad()
    def drawn(self, batch: Batch) -> Float[Tensor, "batch wanted time"]:
        """Draw ECGs from their codes (eval mode), in mV; NaN where nothing was: absent leads, a rest."""
        patches = self.backbone.patchify(batch.ecg, batch.leads)
        return redraw(self.decode(self.said(patches).values, patches), patches, self.backbone, batch)

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether few codes do all the work, or codes that name the place and not the ECG."""
        codes = len(self.codebook.counts)
        used = logs.get("validation_perplexity", logs.get("perplexity", codes))
        if logs.get("perplexity_of_place", LEAST_WORDS) < LEAST_WORDS:
            return (
                f"The codes name places: {logs['perplexity_of_place']:.1f} of them are in use at one place "
                f"(healthy from {LEAST_WORDS:g}), so all ECGs are said alike. Say more [train] steps.",
            )
        if used >= LEAST_USE * codes:
            return ()
        return (
            f"The codebook is collapsing: perplexity {used:.1f} of {codes} codes (healthy from "
            f"{LEAST_USE * codes:g}). Lower [train] lr, [method] decay (codes follow faster) or codes.",
        )


def of_place(code: Int[Tensor, "batch patch"]) -> Float[Tensor, ""]:
    """Return how many codes a batch has at one place, mean over places: exp(entropy); no absent leads."""
    each = []
    for place in code.T:
        share = torch.bincount(place[place >= 0]) / (place >= 0).sum().clamp(min=1)
        each.append(torch.special.entr(share).sum().exp())
    return torch.stack(each).mean()
