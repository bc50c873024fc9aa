"""Nearest neighbours: what training records near an ECG say. [train] solver = "probe" fills the shelf."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Neighbours"]

TIED = {torch.float64: 1e-12, torch.float32: 1e-6}  # cosines that differ by no more are the same
KINDS = ("labels", "multiclass", "regression")


class Neighbours(Head):
    """Pool, find the k nearest training records by cosine, and answer with the share of each label in them.

    Gives `logits`, and the vector that is compared as `pooled`. Records tied at the last place share what is
    left of it. The share is smoothed by one record that is all training together, which changes no ranking
    and keeps the logit finite; with an empty shelf that record, `level`, is the whole answer.
    """

    gives = ("logits", "pooled")

    def __init__(self, dim: int, labels: int, *, pool: Sequence[str] = ("mean",)):
        super().__init__()
        self.pool = Pool(dim, pool)
        self.level = nn.Parameter(torch.zeros(labels))  # logits (or numbers) of all training records together
        self.register_buffer("shelf", torch.zeros(0, self.pool.dim))  # a vector per training record
        self.register_buffer("votes", torch.zeros(0, labels))  # NaN: unknown
        self.register_buffer("neighbours", torch.tensor(0))
        self.register_buffer("task", torch.tensor(0))  # its kind: place in KINDS
        self.shelf: Tensor
        self.votes: Tensor
        self.neighbours: Tensor
        self.task: Tensor

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Answer, and say from what."""
        pooled = self.pool(tokens).float()
        if not len(self.shelf):
            return {"logits": self.level.expand(len(pooled), -1), "pooled": pooled}
        with torch.autocast(pooled.device.type, enabled=False):
            known, voted = self.ballots(pooled)
            logits = self.answer(known, voted)
        return {"logits": logits.to(pooled.dtype), "pooled": pooled}

    def ballots(
        self, pooled: Float[Tensor, "batch pooled"]
    ) -> tuple[Float[Tensor, "batch label"], Float[Tensor, "batch label"]]:
        """Return how many of the nearest know each label, and the sum of what they say."""
        exact = torch.float32 if pooled.device.type == "mps" else torch.float64  # MPS has no other
        k = int(self.neighbours)
        far = 1 - unit(pooled.to(exact)) @ unit(self.shelf.to(exact)).T
        last = far.topk(k, dim=1, largest=False).values[:, -1:]
        nearer = far < last - TIED[exact]
        tied = (far <= last + TIED[exact]) & ~nearer
        left = (k - nearer.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
        weight = nearer.to(exact) + tied.to(exact) * left
        return weight @ (~self.votes.isnan()).to(exact), weight @ self.votes.nan_to_num().to(exact)

    def answer(
        self, known: Float[Tensor, "batch label"], voted: Float[Tensor, "batch label"]
    ) -> Float[Tensor, "batch label"]:
        """Turn ballots into logits, or the mean of numbers; where no neighbour knows, the level answers."""
        level, kind = self.level.to(known.dtype), KINDS[int(self.task)]
        if kind == "regression":
            return torch.where(known > 0, voted / known.clamp(min=1e-9), level)
        share = level.sigmoid() if kind == "labels" else level.softmax(0)
        smooth = (voted + share) / (known + 1)
        return smooth.logit(eps=1e-7) if kind == "labels" else smooth.clamp(min=1e-7).log()

    @torch.no_grad()
    def take(
        self,
        shelf: Float[Tensor, "record pooled"],
        votes: Float[Tensor, "record label"],
        level: Float[Tensor, " label"],
        *,
        neighbours: int,
        kind: str,
    ) -> None:
        """Become neighbours of these training records."""
        where = self.level.device
        self.shelf = shelf.to(where, torch.float32)
        self.votes = votes.to(where, torch.float32)
        self.level.copy_(level)
        self.neighbours.fill_(neighbours)
        self.task.fill_(KINDS.index(kind))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for as many training records as are saved."""
        for name in ("shelf", "votes"):
            mine, saved = getattr(self, name), state_dict.get(prefix + name)
            if saved is not None and saved.shape[1:] == mine.shape[1:]:
                setattr(self, name, mine.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def unit(vectors: Float[Tensor, "record dim"]) -> Float[Tensor, "record dim"]:
    """Bring vectors to length 1; one of length 0 stays there."""
    length: Tensor = vectors.norm(dim=1, keepdim=True)
    return vectors / torch.where(length > 0, length, torch.ones_like(length))
