"""Label decoupling: each label has a small space and a classifier of its own.

Zhang et al. 2023, Label decoupling strategy for 12-lead ECG classification,
doi:10.1016/j.knosys.2023.110298.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.conv import kaiming
from einthoven.layers.dense import dense, keep
from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Decoupled"]


class Decoupled(Head):
    """Logits of the benchmark's head (the fusion branch) and of decoupled classifiers, mixed by a gate.

    Label k's share of the fusion branch is the sigmoid of one learned number, which starts at one half;
    with `gate = "published"` at the published spread (from .09 to .91, by chance). Gives `logits` and
    `label_embedding` (batch, label, size), for the loss `label_triplet`. `fusion = false` or
    `decoupled = false` leaves one branch, for ablations.
    """

    gives: tuple[str, ...] = ("logits", "label_embedding")

    def __init__(
        self,
        dim: int,
        labels: int,
        *,
        pool: Sequence[str] = ("max", "mean"),
        size: int = 8,
        dropout: float = 0.5,
        gate: Literal["half", "published"] = "half",
        fusion: bool = True,
        decoupled: bool = True,
    ):
        super().__init__()
        if size < 1 or not 0 <= dropout < 0.99:
            raise ValueError(
                f"Head 'decoupled' needs size from 1 and 0 <= dropout < 0.99, got {size} and {dropout:g}."
            )
        if not (fusion or decoupled):
            raise ValueError("Head 'decoupled' needs fusion or decoupled, or both.")
        self.pool = Pool(dim, pool)
        self.fusion = dense(self.pool.dim, (128,), labels, dropout) if fusion else None
        self.spaces = LabelSpaces(self.pool.dim, labels, size, dropout) if decoupled else None
        if not decoupled:
            self.gives = ("logits",)
        kaiming(self)
        if fusion and decoupled:
            # A label by label matrix applied to ones, drawn like every layer: a sum of normal numbers.
            spread = 2**0.5 if gate == "published" else 0.0
            self.gate = nn.Parameter(spread * torch.randn(labels))

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Classify."""
        pooled = self.pool(tokens)
        if self.spaces is None:
            assert self.fusion is not None
            return {"logits": self.fusion(pooled)}
        embedding = self.spaces(pooled)
        logits = self.spaces.classify(embedding)
        if self.fusion is not None:
            logits = torch.lerp(logits.float(), self.fusion(pooled).float(), self.gate.sigmoid())
        return {"logits": logits, "label_embedding": embedding}


class LabelSpaces(nn.Module):
    """For each label: batch norm, dropout, a linear map into its space; batch norm, dropout, a classifier.

    All labels at once. They share the statistics of the first batch norm, which are the same for all,
    and have their own scale, shift and dropout.
    """

    def __init__(self, width: int, labels: int, size: int, dropout: float):
        super().__init__()
        self.labels, self.size, self.dropout = labels, size, dropout
        self.statistics = nn.BatchNorm1d(width, affine=False)
        self.scale = nn.Parameter(torch.ones(labels, width))
        self.shift = nn.Parameter(torch.zeros(labels, width))
        self.weight = nn.Parameter(torch.randn(labels, width, size) * (2 / width) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(labels, size))
        self.norm = nn.BatchNorm1d(labels * size)
        self.last = nn.Parameter(torch.randn(labels, size) * (2 / size) ** 0.5)
        self.threshold = nn.Parameter(torch.zeros(labels))

    def forward(self, pooled: Float[Tensor, "batch width"]) -> Float[Tensor, "batch label size"]:
        """Place a batch in each label's space."""
        x = self.statistics(pooled)
        if not (self.training and self.dropout):  # then the maps of all labels are one matrix
            weight = (self.scale[..., None] * self.weight).transpose(0, 1).flatten(1)
            bias = self.bias + torch.einsum("kf,kfd->kd", self.shift, self.weight)
            flat: Tensor = x @ weight.to(x.dtype) + bias.flatten()
            return flat.view(-1, self.labels, self.size)
        scale, shift = self.scale[:, None].to(x.dtype), self.shift[:, None].to(x.dtype)
        each = torch.addcmul(shift, x[None], scale)  # label batch width
        each = each * keep(each, self.dropout / 2)
        return torch.baddbmm(self.bias[:, None], each, self.weight).transpose(0, 1)

    def classify(self, embedding: Float[Tensor, "batch label size"]) -> Float[Tensor, "batch label"]:
        """Say for each label how likely it is, from its own space."""
        z = self.norm(embedding.flatten(1)).unflatten(1, (self.labels, self.size))
        if self.training and self.dropout:
            z = z * keep(z, self.dropout)
        logits: Tensor = (z * self.last).sum(2) + self.threshold
        return logits
