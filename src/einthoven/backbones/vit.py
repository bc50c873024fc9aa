"""A transformer over patches of ECGs: the one network of ST-MEM, MTAE, MLAE, ECG-JEPA and the VQ-VAE.

ST-MEM: Na et al. 2024, arXiv:2402.09450. ECG-JEPA: Kim 2024, arXiv:2410.08559.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from einthoven.layers.attention import Block, Blocks, Sight, crossed, sincos
from einthoven.types import LEADS, PatchBackbone, Patches, Signal, Tokens

__all__ = ["ViT"]

SIZES = {"tiny": (192, 6, 3), "small": (384, 12, 6), "base": (768, 12, 12)}  # width, blocks, heads
SLOTS = 1024  # patches of a lead whose places have a code; longer windows get more


class ViT(PatchBackbone):
    """Patches of `patch` seconds of one lead; leads are known by name, so any of them may be absent.

    `size` is a preset or [width, blocks, heads]. `together` cuts all leads at once (MTAE); a patch as long
    as the window makes one token of each lead (MLAE). `special` adds a CLS, or a SEP on either side of each
    lead (ST-MEM). `attention` is full, or along the token's lead and time only (ECG-JEPA), computed as a
    grid where the patches form one. `code` says where a patch is: "learned" adds a vector of the lead and a
    fixed code of the time once, after a norm, as ST-MEM does; "fixed" adds fixed codes of both before every
    block, as ECG-JEPA does, without norms of the patch and without biases of queries, keys and values.
    `drop` is the share of branches left out at the last block (stochastic depth).
    """

    settled = ("size", "together", "special", "attention", "code")
    time: Tensor
    lead: Tensor | None

    def __init__(
        self,
        wants: Signal,
        *,
        size: Literal["tiny", "small", "base"] | Sequence[int] = "tiny",
        patch: float = 0.25,
        together: bool = False,
        special: Literal["none", "cls", "sep"] = "none",
        attention: Literal["full", "cross_pattern"] = "full",
        code: Literal["learned", "fixed"] = "learned",
        drop: float = 0.0,
    ):
        super().__init__()
        width, depth, heads = widths(size)
        self.patch = (len(wants.leads) if together else 1, samples_of(patch, wants))
        if attention == "cross_pattern" and (special != "none" or together):
            raise ValueError(
                "Backbone 'vit': attention = 'cross_pattern' needs special = 'none', one lead a patch."
            )
        if special == "sep" and (together or code == "fixed"):
            raise ValueError("Backbone 'vit': special = 'sep' needs one lead a patch, and code = 'learned'.")
        if not 0 <= drop < 1:
            raise ValueError(f"Backbone 'vit' needs drop from 0 to below 1, got {drop:g}.")
        self.wants, self.dim = wants, width
        if not together:
            self.bound = ("hertz", "band", "scale")  # leads are known by name
        self.special, self.attention, self.code = special, attention, code
        self.embed = embedding(self.patch[0] * self.patch[1], width, norms=code == "learned")
        self.mark = nn.Parameter(0.02 * torch.randn(1, 1, width)) if special != "none" else None
        slots = torch.arange(max(SLOTS, wants.samples // self.patch[1]))
        each = width if together or code == "learned" else width // 2
        self.register_buffer("time", sincos(slots, each))
        if together:
            self.lead = None
        elif code == "learned":
            self.lead = nn.Parameter(0.02 * torch.randn(len(LEADS), width))
        else:
            self.register_buffer("lead", sincos(torch.arange(len(LEADS)), each))
        self.blocks = Blocks(width, depth, heads, bias=code == "learned", drop=drop)
        begin(self.embed, self.blocks, code)

    def encode(self, patches: Patches) -> Tokens:
        """Relate the given patches to each other; tokens of absent leads are zero."""
        place, count = self.places(patches), patches.lead.shape[1]
        values: Tensor = self.embed(patches.values)
        values = values + place if self.code == "learned" else values
        special, there = self.specials(patches)
        values = torch.cat([values, special], 1)
        again = None if self.code == "learned" else F.pad(place, (0, 0, 0, special.shape[1]))
        real = None if patches.real is None else torch.cat([patches.real, there], 1)
        values = self.blocks(values, self.sight(patches, real), again)
        if real is not None:
            values = values * real[..., None]
        apart = values[:, count:] if special.shape[1] else None
        return Tokens(values[:, :count], patches.real, apart, patches.lead if self.patch[0] == 1 else None)

    def places(self, patches: Patches) -> Float[Tensor, "batch patch dim"]:
        """Say where the patches are."""
        time: Tensor = self.time[patches.time]
        if self.lead is None:
            return time
        lead = self.lead[patches.lead]
        return time + lead if self.code == "learned" else torch.cat([time, lead], 2)

    def sight(self, patches: Patches, real: Bool[Tensor, "batch token"] | None) -> Sight:
        """Say who sees whom: along a grid where there is one, else by a mask."""
        if self.attention == "full":
            return Sight(real)
        if patches.aligned:
            return Sight(real, patches.rows)
        return Sight(real, mask=crossed(patches.lead, patches.time))

    def specials(
        self, patches: Patches
    ) -> tuple[Float[Tensor, "batch special dim"], Bool[Tensor, "batch special"]]:
        """Make the special tokens and say which are there: none, a CLS, or two SEP a lead (left, right)."""
        batch = len(patches.lead)
        there = torch.ones(batch, 1, dtype=torch.bool, device=patches.lead.device)
        if self.mark is None:
            return patches.values.new_zeros(batch, 0, self.dim), there[:, :0]
        if self.special == "cls" or self.lead is None:
            return self.mark.expand(batch, -1, -1), there
        if patches.rows is None:
            raise ValueError("SEP tokens need patches that form rows of leads.")
        first = patches.lead.unflatten(1, (patches.rows, -1))[:, :, 0]
        there = there.expand(-1, patches.rows)
        if patches.real is not None:
            there = patches.real.unflatten(1, (patches.rows, -1))[:, :, 0]
        return (self.mark + self.lead[first]).repeat_interleave(2, 1), there.repeat_interleave(2, 1)


def widths(size: str | Sequence[int]) -> tuple[int, int, int]:
    """Return width, blocks and heads."""
    width, depth, heads = SIZES[size] if isinstance(size, str) else (*size, 0, 0, 0)[:3]
    if min(width, depth, heads) < 1 or width % (4 * heads) or (not isinstance(size, str) and len(size) != 3):
        known = ", ".join(SIZES)
        raise ValueError(
            f"Backbone 'vit': size is one of {known}, or [width, blocks, heads] with a width that "
            f"4 times the heads divides; got {size!r}."
        )
    return width, depth, heads


def samples_of(patch: float, wants: Signal) -> int:
    """Return the samples of a patch."""
    samples = round(patch * wants.hertz)
    if not 2 <= samples <= wants.samples:
        raise ValueError(
            f"Backbone 'vit': a patch of {patch:g} s is {samples} samples at {wants.hertz:g} Hz, and must be "
            f"from 2 to the {wants.samples} that [signal] seconds = {wants.seconds:g} gives."
        )
    return samples


def embedding(samples: int, width: int, *, norms: bool) -> nn.Module:
    """Make a token of a patch."""
    linear = nn.Linear(samples, width)
    return nn.Sequential(nn.LayerNorm(samples), linear, nn.LayerNorm(width)) if norms else linear


def begin(embed: nn.Module, blocks: Blocks, code: str) -> None:
    """Draw first weights: of Glorot's range; for fixed codes small ones, ever smaller (ECG-JEPA).

    There, patches begin at the size of an ECG scaled to an sd of 1. At the published 0.02 they are a seventh
    of the codes, which are added before every block: a short training learns where a patch is, and no ECG.
    """
    for layer in (*embed.modules(), *blocks.modules()):
        if isinstance(layer, nn.Linear):
            if code == "learned":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if code == "fixed" and isinstance(embed, nn.Linear):
        nn.init.trunc_normal_(embed.weight, std=embed.in_features**-0.5)
        for place, block in enumerate((b for b in blocks.blocks if isinstance(b, Block)), 1):
            block.soften((2 * place) ** 0.5)
