"""ECGs beside texts that repeat: what belongs together, and the losses that bring it together.

CLIP: Radford et al. 2021, arXiv:2103.00020. Sigmoid: Zhai et al. 2023, arXiv:2303.15343. A text that many
records share would be its own negative; here each different text (or meaning) is one column, whoever has it.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from einthoven.layers.masked import LEAST_RANK, LEAST_SD, spread
from einthoven.layers.pool import mean, special
from einthoven.layers.space import log_sum, products
from einthoven.types import Tokens


class Pairs(NamedTuple):
    """The different texts of a batch, and who has which; rows without a text ("") are left out."""

    ecg: Int[Tensor, " ecg"]  # rows of the batch that have a text
    column: Int[Tensor, " ecg"]  # what each of them belongs to
    texts: tuple[str, ...]  # the different ones, in order of appearance
    meaning: Int[Tensor, " text"]  # the column of each text: its place, unless several mean the same
    columns: int

    @property
    def own(self) -> Bool[Tensor, "ecg column"]:
        """Which ECG belongs to which column."""
        return F.one_hot(self.column, max(self.columns, 1)).bool()


def paired(
    texts: Sequence[str], device: torch.device, meaning: Callable[[str], Hashable] = lambda text: text
) -> Pairs:
    """Find the different texts of a batch; those of equal `meaning` share a column."""
    rows = [row for row, text in enumerate(texts) if text]
    different = tuple(dict.fromkeys(texts[row] for row in rows))
    means = {text: meaning(text) for text in different}
    column = {key: place for place, key in enumerate(dict.fromkeys(means.values()))}

    def places(numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=device)

    return Pairs(
        places(rows),
        places([column[means[texts[row]]] for row in rows]),
        different,
        places([column[means[text]] for text in different]),
        len(column),
    )


def one_each(vectors: Float[Tensor, "text size"], pairs: Pairs) -> Float[Tensor, "column size"]:
    """Return a unit vector per column: the mean direction of its texts, each different one once."""
    members = F.one_hot(pairs.meaning, max(pairs.columns, 1)).T.to(vectors.dtype)
    return F.normalize(products(members, vectors.T), dim=1)


def pooled(tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """Average the real tokens; the special ones of a backbone that gives no others."""
    return mean(tokens) if tokens.values.shape[1] else special(tokens)


def unit(side: nn.Module, vectors: Float[Tensor, "row dim"]) -> Float[Tensor, "row size"]:
    """Bring vectors into a space by a layer, and to length 1: in float32, also where the rest is bf16."""
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(side(vectors.float()), dim=1)


def harder(
    likeness: Float[Tensor, "anchor other"], others: Bool[Tensor, "anchor other"]
) -> Float[Tensor, "anchor other"]:
    """Return the logarithm of what each of the others counts: exp(likeness), 1 on average."""
    count = others.sum(1, keepdim=True).clamp(min=1)
    return torch.where(others, likeness - (log_sum(likeness, others) - count.log()), 0)


def found_among(
    score: Float[Tensor, "anchor other"],
    own: Bool[Tensor, "anchor other"],
    counts: Float[Tensor, "anchor other"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over anchors of the mean over their own of -log(e_own / (e_own + sum over others of e_other)).

    e = exp(score); one of an anchor's own does not push away another. `counts` is the logarithm of what each
    of the others counts.
    """
    rivals = log_sum(score if counts is None else score + counts, ~own)
    each = (F.softplus(rivals - score) * own).sum(1) / own.sum(1).clamp(min=1)
    return each.sum() / own.any(1).sum().clamp(min=1)


def clip(
    score: Float[Tensor, "ecg column"],
    own: Bool[Tensor, "ecg column"],
    likeness: Float[Tensor, "ecg column"] | None = None,
) -> Float[Tensor, ""]:
    """Half the loss of every ECG that looks for its text, half that of every text that looks for its ECGs.

    Where no text comes twice, this is CLIP's loss as published.
    """
    if likeness is None:
        return (found_among(score, own) + found_among(score.T, own.T)) / 2
    to_text, to_ecg = harder(likeness, ~own), harder(likeness.T, ~own.T)
    return (found_among(score, own, to_text) + found_among(score.T, own.T, to_ecg)) / 2


def sigmoid(
    score: Float[Tensor, "ecg column"],
    own: Bool[Tensor, "ecg column"],
    likeness: Float[Tensor, "ecg column"] | None = None,
) -> Float[Tensor, ""]:
    """Sum over texts, mean over ECGs, of -log(sigmoid(score)) where they belong together, else of its mirror.

    Where no text comes twice, this is SigLIP's loss as published.
    """
    each = F.softplus(torch.where(own, -score, score))
    if likeness is not None:
        each = each * harder(likeness, ~own).exp()
    return each.sum() / max(len(score), 1)


@torch.no_grad()
def hits(score: Float[Tensor, "anchor other"], own: Bool[Tensor, "anchor other"]) -> Float[Tensor, ""]:
    """Return the share of anchors that have one of their own on top; who ties on top shares it."""
    top = score == score.amax(1, keepdim=True)
    return ((top & own).sum(1) / top.sum(1)).mean()


def spreads(sides: Mapping[str, Float[Tensor, "_ size"]]) -> dict[str, Tensor]:
    """Measure whether the vectors of each side still differ: SIDE_sd, 1 at most, and SIDE_rank."""
    told: dict[str, Tensor] = {}
    for side, vectors in sides.items():
        measured = spread(Tokens(vectors[:, None]))
        told |= {f"{side}_{name.rpartition('_')[2]}": value for name, value in measured.items()}
    return told


def all_alike(logs: Mapping[str, float], sides: Mapping[str, str]) -> Sequence[str]:
    """Say of which sides all vectors have become alike, by the means of what `spreads` measured."""
    told = []
    for side, what in sides.items():
        sd, rank = logs.get(f"{side}_sd", 1.0), logs.get(f"{side}_rank", math.inf)
        if sd < LEAST_SD or rank < LEAST_RANK:
            low = f"sd {sd:.3f} (from {LEAST_SD:g})"
            low += f", effective rank {rank:.1f} (from {LEAST_RANK:g})" if rank < math.inf else ""
            told.append(f"The embeddings have collapsed: {low}: every {what} looks alike. Lower [train] lr.")
    return told
