"""From tokens to one vector."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.types import LEADS, Tokens

Pooling = Callable[[Tokens], Float[Tensor, "batch dim"]]


def mean(tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """Average the real tokens."""
    if tokens.real is None:
        return tokens.values.mean(1)
    real = tokens.real[..., None].to(tokens.values.dtype)
    return (tokens.values * real).sum(1) / real.sum(1).clamp(min=1)


def largest(tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """Take the largest real value of each channel."""
    if tokens.real is None:
        return tokens.values.amax(1)
    return tokens.values.masked_fill(~tokens.real[..., None], -torch.inf).amax(1)


def special(tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """Average the special tokens: the CLS, an LSTM's final state. Those of absent leads are zero: left."""
    if tokens.special is None:
        raise ValueError("pool 'special': this backbone has no special token.")
    there = tokens.special.detach().ne(0).any(2).sum(1, keepdim=True).clamp(min=1)
    return tokens.special.sum(1) / there


def of_each_lead(tokens: Tokens, pool: Pooling) -> Float[Tensor, "batch dims"]:
    """Pool the tokens of each lead by themselves, one after the other in the order of LEADS.

    A lead that is absent has no tokens: the mean of the leads that are there stands in its place.
    """
    if tokens.lead is None:
        raise ValueError(
            "Pools 'lead_mean' and 'lead_max' need a backbone whose tokens are of one lead: vit, unless "
            "together = true. Say [head] pool = ['mean', 'max']."
        )
    every = torch.arange(len(LEADS), device=tokens.lead.device)
    real = tokens.lead[:, None] == every[:, None]  # batch lead token
    real = real if tokens.real is None else real & tokens.real[:, None]
    here = real.any(2)[..., None]
    told = torch.stack([pool(Tokens(tokens.values, of_lead)) for of_lead in real.unbind(1)], 1)
    told = told.masked_fill(~here, 0.0)
    usual = told.sum(1, keepdim=True) / here.sum(1, keepdim=True).clamp(min=1)
    return torch.where(here, told, usual).flatten(1)


POOLS: dict[str, Pooling] = {
    "mean": mean,
    "max": largest,
    "special": special,
    "lead_mean": partial(of_each_lead, pool=mean),
    "lead_max": partial(of_each_lead, pool=largest),
}


class Pool(nn.Module):
    """Concatenate several pools; `dim` is the width of the result.

    "mean" and "max" are of all tokens, "special" of those without a place in time. "lead_mean" and
    "lead_max" keep leads apart, and so are twelve times as wide: which lead says it is half of what is said.
    """

    def __init__(self, dim: int, how: Sequence[str]):
        super().__init__()
        how = (how,) if isinstance(how, str) else how
        if unknown := [name for name in how if name not in POOLS]:
            raise ValueError(f"No pool {unknown[0]!r}. Known: {', '.join(POOLS)}.")
        if not how or dim < 1:
            raise ValueError(f"A pool needs a name ({', '.join(POOLS)}) and tokens of some width.")
        self.pools = [POOLS[name] for name in how]
        self.dim = dim * sum(len(LEADS) if name.startswith("lead_") else 1 for name in how)

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch pooled"]:
        """Pool."""
        return torch.cat([pool(tokens) for pool in self.pools], 1)
