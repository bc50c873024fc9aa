"""A codebook that learns by moving averages: the vector quantiser of van den Oord et al. 2017, arXiv:1711.00937.

Codes begin as k-means of the first batch, and a code that nobody uses begins anew (Dhariwal et al. 2020,
arXiv:2005.00341).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

LLOYD = 10  # rounds of k-means on the first batch
ABSENT = -1  # the code of a token that is not there


class Quantised(NamedTuple):
    """Tokens, each replaced by its code. Those that are absent are zero and have code -1."""

    values: Float[Tensor, "batch token dim"]  # the gradient passes on to the tokens
    code: Int[Tensor, "batch token"]
    commitment: Float[Tensor, ""]  # mean squared distance from the codes: what draws tokens towards them
    perplexity: Float[Tensor, ""]  # codes in use: exp(entropy) of how often each was the nearest


class Codebook(nn.Module):
    """Replace each token by the nearest of `codes` codes, which follow their tokens in training.

    A code is the moving mean of the tokens that it was nearest to. Kept are the means and the moving counts;
    a moving sum is count x mean, so that none can begin at zero and drag its code there. `unit` compares
    directions: tokens and codes are brought to length 1. A code whose count falls below the share `restart`
    of the average count becomes a random token of the batch. Nothing changes in eval mode.
    """

    means: Tensor
    counts: Tensor

    def __init__(
        self, codes: int, size: int, *, decay: float = 0.99, restart: float = 0.1, unit: bool = False
    ):
        super().__init__()
        if codes < 2 or size < 1:
            raise ValueError(f"A codebook needs codes from 2 and size from 1, got {codes} and {size}.")
        if not (0 < decay < 1 and 0 <= restart < 1):
            raise ValueError(
                "A codebook needs decay from above 0 and restart from 0, both below 1; "
                f"got {decay:g} and {restart:g}."
            )
        self.decay, self.restart, self.unit = decay, restart, unit
        self.register_buffer("means", torch.randn(codes, size))
        self.register_buffer("counts", torch.zeros(codes))  # all zero: no batch was seen yet

    @property
    def codes(self) -> Float[Tensor, "code dim"]:
        """The codes as they stand for tokens."""
        return F.normalize(self.means, dim=1) if self.unit else self.means

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], real: Bool[Tensor, "batch token"] | None = None
    ) -> Quantised:
        """Replace tokens by codes; in training, let the codes follow."""
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = self.placed(tokens)
            known = (tokens.flatten(0, 1) if real is None else tokens[real]).detach()
            if self.training and len(known):
                self.begin(known)
            code = self.nearest(tokens)
            values = self.codes[code]
            away = (tokens - values).square().mean(2)
            used = F.one_hot(code, len(self.means)).to(torch.float32)
            if real is not None:
                away, used, code = away * real, used * real[..., None], code.masked_fill(~real, ABSENT)
            used = used.flatten(0, 1)
            commitment = away.sum() / max(len(known), 1)
            ...
