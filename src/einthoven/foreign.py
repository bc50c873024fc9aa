"""Encoders that others have published, and where each of their weights stands in backbone `vit`.

Na et al. 2024 (ST-MEM), arXiv:2402.09450; Kim 2024 (ECG-JEPA), arXiv:2410.08559.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from einthoven.ecg import LEADS, Signal
from einthoven.layers.attention import sincos

Weights = dict[str, Tensor]
DATA = "Chapman-Shaoxing, Ningbo and CODE-15"  # what both were learned from, as their authors say


class Misfit(ValueError):
    """What of a checkpoint is not as its authors published it."""


class Published(ABC):
    """An encoder of others. `entry` of its checkpoint holds the weights, `first` tells their width."""

    title: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    mismatch: ClassVar[str] = ""  # what is known to differ from what its authors did
    entry: ClassVar[str]
    first: ClassVar[str]
    embed: ClassVar[Mapping[str, str]]  # their layer -> ours
    block: ClassVar[str]
    layers: ClassVar[Mapping[str, str]]  # of a block
    signal: ClassVar[Signal]
    table: ClassVar[Mapping[str, Any]]  # [backbone] but for its size

    @abstractmethod
    def heads(self, width: int) -> int:
        """Return how many heads read a width, which no weight tells; 0 if none can."""

    @abstractmethod
    def tables(self, width: int) -> dict[str, tuple[int, ...]]:
        """Name the weights that stand elsewhere, or otherwise, in ours, with their shapes."""

    @abstractmethod
    def placed(self, given: Weights, ours: Weights) -> Weights:
        """Return ours that come of `tables`, which have the right names and shapes."""

    def kept(self, weights: Weights) -> Weights:
        """Leave out what is not the encoder."""
        return weights

    def size(self, weights: Weights) -> tuple[int, int, int]:
        """Read width, blocks and heads from names and shapes."""
        if self.first not in weights:
            raise Misfit(f"it has no {self.first!r}")
        width = weights[self.first].shape[-1] if weights[self.first].ndim else 0
        sign = next(iter(self.layers))
        depth = 0
        while f"{self.block.format(depth)}.{sign}.weight" in weights:
            depth += 1
        if not depth:
            raise Misfit(f"it has no '{self.block.format(0)}.{sign}.weight'")
        heads = self.heads(width)
        if not width or not heads or width % (4 * heads):
            raise Misfit(f"{self.first!r} is of width {width}, which its heads do not divide")
        return width, depth, heads

    def translate(self, weights: Weights, ours: Weights) -> Weights:
        """Return all weights of a `vit` of this size; the first misfit is raised.

        Of its own, `ours`, shapes count alone: they may be on device meta.
        """
        width, depth, _ = self.size(weights)
        tables, places = self.tables(width), dict(self.names(depth, ours))
        shapes = tables | {theirs: tuple(ours[mine].shape) for theirs, mine in places.items()}
        for name, shape in shapes.items():
            if name not in weights:
                raise Misfit(f"it has no {name!r}")
            if tuple(weights[name].shape) != shape:
                raise Misfit(f"{name!r} is of shape {tuple(weights[name].shape)}, not {shape}")
        if more := [name for name in weights if name not in shapes]:
            raise Misfit(f"{more[0]!r} is no weight of it")
        if bad := [name for name in weights if not bool(weights[name].isfinite().all())]:
            raise Misfit(f"{bad[0]!r} holds NaN or infinity")
        return {mine: weights[name] for name, mine in places.items()} | self.placed(weights, ours)

    def names(self, depth: int, ours: Weights) -> Iterator[tuple[str, str]]:
        """Pair their names with ours, where a weight is the same in both."""
        layers = dict(self.embed) | {"norm": "blocks.norm"}
        for i in range(depth):
            layers |= {
                f"{self.block.format(i)}.{a}": f"blocks.blocks.{i}.{b}" for a, b in self.layers.items()
            }
        for theirs, mine in layers.items():
            for what in ("weight", "bias"):
                if f"{mine}.{what}" in ours:
                    yield f"{theirs}.{what}", f"{mine}.{what}"


class STMEM(Published):
    """Its encoder, or encoder and decoder: the decoder is left out."""

    title = "ST-MEM"
    source = "github.com/vuno/ST-MEM, arXiv:2402.09450"
    licence = "CC BY-NC 4.0, VUNO Inc.: no commercial use, and credit to its authors"
    mismatch = (
        "Its authors average the tokens and then normalise the mean; here normalised tokens are averaged. "
        "Their filters (two of order 5, after the crop) and their FFT resampling are near ours, not equal."
    )
    entry = "model"
    first = "pos_embedding"
    embed: ClassVar = {f"to_patch_embedding.{i}": f"embed.{i - 1}" for i in (1, 2, 3)}
    block = "block{}"
    layers: ClassVar = {
        "attn.norm": "norm1",
        "attn.fn.to_qkv": "attend.qkv",
        "attn.fn.to_out.0": "attend.out",
        "ff.norm": "norm2",
        "ff.fn.net.0": "widen",
        "ff.fn.net.3": "narrow",
    }
    signal = Signal(hertz=250.0, seconds=9.0, band=(0.67, 40.0), scale="crop", subset=True)
    table: ClassVar = {"patch": 0.3, "special": "sep", "attention": "full", "code": "learned"}
    steps = 30  # patches of a lead; a SEP stands on either side
    others = ("to_patch_embedding.", "to_decoder_embedding.", "mask_embedding", "decoder_")

    def heads(self, width: int) -> int:
        """Every head is 64 wide."""
        return 0 if width % 64 else width // 64

    def tables(self, width: int) -> dict[str, tuple[int, ...]]:
        """Places along a lead, the SEP, and one vector for each lead."""
        leads = {f"lead_embeddings.{i}": (width,) for i in range(len(LEADS))}
        return {self.first: (1, self.steps + 2, width), "sep_embedding": (width,)} | leads

    def kept(self, weights: Weights) -> Weights:
        """Take the encoder out of the full model."""
        inner = [name for name in weights if name.startswith("encoder.")]
        if not inner:
            return weights
        if more := [name for name in weights if not name.startswith(("encoder.", *self.others))]:
            raise Misfit(f"{more[0]!r} is no weight of it")
        return {name.removeprefix("encoder."): weights[name] for name in inner}

    def placed(self, given: Weights, ours: Weights) -> Weights:
        """Cut the SEPs' places off, which are zero."""
        code = given[self.first][0]
        if code[[0, -1]].any():
            raise Misfit(f"{self.first!r} moves the SEP tokens, whose places were zero")
        leads = torch.stack([given[f"lead_embeddings.{i}"] for i in range(len(LEADS))])
        time = continued(code[1:-1], len(ours["time"]))
        return {"time": time, "mark": given["sep_embedding"][None, None], "lead": leads}


class ECGJEPA(Published):
    """Its encoder: the student's, which reads eight leads."""

    title = "ECG-JEPA"
    source = "github.com/sehunfromdaegu/ECG_JEPA, arXiv:2410.08559"
    licence = "MIT, Sehun Kim: copies keep his notice"
    entry = "encoder"
    first = "pos_embed"
    embed: ClassVar = {"W_P": "embed"}
    block = "encoder_blocks.blocks.{}"
    layers: ClassVar = {
        "norm1": "norm1",
        "attn.qkv": "attend.qkv",
        "attn.proj": "attend.out",
        "norm2": "norm2",
        "mlp.fc1": "widen",
        "mlp.fc2": "narrow",
    }
    signal = Signal(leads=("I", "II", *LEADS[6:]), hertz=250.0, seconds=10.0, subset=True)
    table: ClassVar = {"patch": 0.2, "special": "none", "attention": "cross_pattern", "code": "fixed"}
    steps = 50

    def heads(self, width: int) -> int:
        """Always the same number, whatever the width."""
        return 16

    def tables(self, width: int) -> dict[str, tuple[int, ...]]:
        """One code for every patch, lead after lead."""
        return {self.first: (len(self.signal.leads) * self.steps, width)}

    def placed(self, given: Weights, ours: Weights) -> Weights:
        """Part the codes into one of the time and one of the lead."""
        codes, half = given[self.first].unflatten(0, (-1, self.steps)), ours["time"].shape[1]
        time, lead = codes[0, :, :half], codes[:, 0, half:]
        if (
            max((codes[..., :half] - time).abs().max(), (codes[..., half:] - lead[:, None]).abs().max())
            > 1e-5
        ):
            raise Misfit(f"{self.first!r} is no code of the time beside one of the lead")
        leads = lead.new_zeros(ours["lead"].shape)  # it never met the others
        leads[[LEADS.index(name) for name in self.signal.leads]] = lead
        return {"time": continued(time, len(ours["time"])), "lead": leads}


PUBLISHED: dict[str, Published] = {"st-mem": STMEM(), "ecg-jepa": ECGJEPA()}


def continued(table: Float[Tensor, "step dim"], places: int) -> Float[Tensor, "place dim"]:
    """Continue a table of places by the fixed code that it holds, counted from 0 or from 1."""
    steps, dim = table.shape
    codes = [sincos(torch.arange(places) + first, dim) for first in (0, 1)]
    nearest = min(codes, key=lambda code: float((code[steps - 1] - table[-1]).abs().max()))
    return torch.cat([table, nearest[steps:]])
