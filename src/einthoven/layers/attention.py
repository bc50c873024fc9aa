"""Pre-norm transformer blocks, whose tokens see all others, or those of their lead and their time alone.

Full attention: Dosovitskiy et al. 2021, arXiv:2010.11929. Cross-pattern: Kim 2024, arXiv:2410.08559.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

PLAIN = 512  # tokens up to which a CPU learns plainly in bf16: 1.5 to 7 times as fast as SDPA's training step


def three(what: str, sizes: Sequence[int]) -> tuple[int, int, int]:
    """Read [width, blocks, heads], or say what is wrong with it."""
    if len(sizes) == 3 and min(sizes) > 0 and sizes[0] % (2 * sizes[2]) == 0:
        return sizes[0], sizes[1], sizes[2]
    raise ValueError(
        f"{what} is [width, blocks, heads], with a width that twice the heads divides; got {list(sizes)}."
    )


class Sight(NamedTuple):
    """Who sees whom: all that are there; with `rows`, only those of a token's row and column of a grid."""

    real: Bool[Tensor, "batch token"] | None = None  # None: all are there
    rows: int | None = None
    mask: Bool[Tensor, "batch token token"] | None = None  # in place of a grid, where there is none


ALL = Sight()


def sincos(place: Int[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape dim"]:
    """Return the fixed code of positions: sines, then cosines, of rates from 1 to 1/10000."""
    rate = 10000 ** (-torch.arange(dim // 2, device=place.device) / (dim // 2))
    angle = place[..., None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


def crossed(
    lead: Int[Tensor, "batch token"], time: Int[Tensor, "batch token"]
) -> Bool[Tensor, "batch token token"]:
    """Say by a dense mask that a token sees the tokens of its lead and of its time."""
    same_lead = lead[:, :, None] == lead[:, None, :]
    return same_lead | (time[:, :, None] == time[:, None, :])


def across(
    q: Float[Tensor, "batch head token dim"],
    k: Float[Tensor, "batch head token dim"],
    v: Float[Tensor, "batch head token dim"],
    rows: int,
    real: Bool[Tensor, "batch token"] | None,
) -> Float[Tensor, "batch head token dim"]:
    """Attend along a grid: one softmax over the keys of the same lead and those of the same time elsewhere.

    Equal to attention under the mask `crossed`, at times + leads products a token in place of times x leads.
    """
    q, k, v = (
        x.unflatten(2, (rows, -1)) for x in (q * q.shape[-1] ** -0.5, k, v)
    )  # batch head lead time dim
    steps = q.shape[3]
    column = [x.transpose(2, 3) for x in (q, k, v)]  # batch head time lead dim
    in_lead = q @ k.transpose(3, 4)
    in_time = column[0] @ column[1].transpose(3, 4)  # batch head time lead lead
    itself = torch.eye(rows, dtype=torch.bool, device=q.device)
    never = torch.finfo(in_lead.dtype).min  # an absent token that sees nobody gets a mean, not NaN
    if real is not None:
        here = real.unflatten(1, (rows, -1))  # batch lead time
        in_lead = in_lead.masked_fill(~here[:, None, :, None, :], never)
        itself = itself | ~here.transpose(1, 2)[:, None, :, None, :]
    in_time = in_time.masked_fill(itself, never)
    share = torch.cat([in_lead, in_time.transpose(2, 3)], -1).softmax(-1)
    mixed = share[..., :steps] @ v
    mixed = mixed + (share[..., steps:].transpose(2, 3) @ column[2]).transpose(2, 3)
    return mixed.flatten(2, 3)


def attend(
    q: Float[Tensor, "batch head token dim"],
    k: Float[Tensor, "batch head token dim"],
    v: Float[Tensor, "batch head token dim"],
    see: Bool[Tensor, "batch 1 #token token"] | None,
) -> Float[Tensor, "batch head token dim"]:
    """Attend to what may be seen; where a CPU learns in bf16, plain products of few tokens are fastest."""
    plain = q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad and q.shape[2] <= PLAIN
    if not plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=see)
    match: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if see is not None:
        match = match.masked_fill(~see, torch.finfo(match.dtype).min)  # who sees nobody gets a mean, not NaN
    mixed: Tensor = match.softmax(-1) @ v
    return mixed


class Attention(nn.Module):
    """Multi-head self-attention; the rows of `qkv` are queries, keys, values, head by head."""

    def __init__(self, dim: int, heads: int, *, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "batch token dim"], sight: Sight) -> Float[Tensor, "batch token dim"]:
        """Mix tokens that see each other."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if sight.rows is not None:
            mixed = across(q, k, v, sight.rows, sight.real)
        else:
            see = None if sight.real is None else sight.real[:, None, None, :]
            if sight.mask is not None:
                see = sight.mask[:, None] if see is None else see & sight.mask[:, None]
            mixed = attend(q, k, v, see)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then a perceptron four times as wide, each after a norm and beside its shortcut."""

    def __init__(self, dim: int, heads: int, *, bias: bool = True, drop: float = 0.0):
        super().__init__()
        self.norm1, self.attend = nn.LayerNorm(dim), Attention(dim, heads, bias=bias)
        self.norm2 = nn.LayerNorm(dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(
        self, x: Float[Tensor, "batch token dim"], sight: Sight = ALL
    ) -> Float[Tensor, "batch token dim"]:
        """Transform; in training each branch is left out for a share `drop` of the records."""
        x = x + self.kept(self.attend(self.norm1(x), sight))
        return x + self.kept(self.narrow(F.gelu(self.widen(self.norm2(x)))))

    def kept(self, branch: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Leave a branch out for some records (stochastic depth)."""
        if not (self.training and self.drop.p):
            return branch
        lasts: Tensor = self.drop(torch.ones_like(branch[:, :1, :1]))
        return branch * lasts

    @torch.no_grad()
    def soften(self, by: float) -> None:
        """Divide what both branches add, before training."""
        for last in (self.attend.out, self.narrow):
            last.weight.div_(by)


class Blocks(nn.Module):
    """Blocks and a last norm. `drop` is the share of branches left out at the last one; 0 at the first."""

    def __init__(self, dim: int, depth: int, heads: int, *, bias: bool = True, drop: float = 0.0):
        super().__init__()
        rates = [drop * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.Sequential(*[Block(dim, heads, bias=bias, drop=rate) for rate in rates])
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        sight: Sight = ALL,
        again: Float[Tensor, "#batch token dim"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Transform; `again` is added before every block."""
        for block in self.blocks:
            x = block(x if again is None else x + again, sight)
        out: Tensor = self.norm(x)
        return out
