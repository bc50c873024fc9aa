"""From tokens to one vector."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.types import Tokens


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


POOLS = {"mean": mean, "max": largest, "special": special}


class Pool(nn.Module):
    """Concatenate several pools; `dim` is the width of the result."""

    def __init__(self, dim: int, how: Sequence[str]):
        super().__init__()
        how = (how,) if isinstance(how, str) else how
        if unknown := [name for name in how if name not in POOLS]:
            raise ValueError(f"No pool {unknown[0]!r}. Known: {', '.join(POOLS)}.")
        if not how or dim < 1:
            raise ValueError(f"A pool needs a name ({', '.join(POOLS)}) and tokens of some width.")
        self.pools, self.dim = [POOLS[name] for name in how], dim * len(how)

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch pooled"]:
        """Pool."""
        return torch.cat([pool(tokens) for pool in self.pools], 1)
