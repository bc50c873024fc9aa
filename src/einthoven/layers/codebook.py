"""A codebook that learns by moving averages: a vector quantiser (van den Oord et al. 2017, arXiv:1711.00937).

Codes begin as k-means of the first batch, and a code that hardly anybody uses begins anew (Dhariwal et al.
2020, arXiv:2005.00341).
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

LLOYD = 10  # rounds of k-means on the first batch
ABSENT = -1  # the code of a token that is not there


class Quantised(NamedTuple):
    """Tokens, each replaced by its code; an absent token is zero and has code -1."""

    values: Float[Tensor, "batch token dim"]  # float32; the gradient passes straight on to the tokens
    code: Int[Tensor, "batch token"]
    commitment: Float[Tensor, ""]  # mean squared distance from the codes: what draws tokens towards them
    perplexity: Float[Tensor, ""]  # codes in use: exp(entropy) of how often each is taken


class Codebook(nn.Module):
    """Replace each token by the nearest of some codes, which follow their tokens in training.

    A code is the moving mean of the tokens that took it. Kept are means and moving counts: a moving sum is
    count x mean, so none can begin at zero and drag its code there. What was is kept at the share `decay`,
    but less at first, when tokens move fast and slow codes would stay behind: 1/10 of it, 2/11, 3/12 ...
    A code whose count falls below the share `restart` of the average becomes a random token of the batch,
    and counts as the average. `unit` brings tokens and codes to length 1, and so compares directions. In
    eval mode nothing changes. Several processes share one codebook.
    """

    means: Tensor
    counts: Tensor
    steps: Tensor

    def __init__(
        self, codes: int, size: int, *, decay: float = 0.99, restart: float = 0.1, unit: bool = False
    ):
        super().__init__()
        if codes < 2 or size < 1:
            raise ValueError(f"A codebook needs codes from 2 and size from 1, got {codes} and {size}.")
        if not (0 < decay < 1 and 0 <= restart < 1):
            raise ValueError(
                "A codebook needs decay above 0 and below 1, and restart from 0 to below 1; "
                f"got {decay:g} and {restart:g}."
            )
        self.decay, self.restart, self.unit = decay, restart, unit
        self.register_buffer("means", torch.randn(codes, size))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # batches seen in training

    @property
    def codes(self) -> Float[Tensor, "code dim"]:
        """What stands for tokens."""
        return F.normalize(self.means, dim=1) if self.unit else self.means

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], real: Bool[Tensor, "batch token"] | None = None
    ) -> Quantised:
        """Replace tokens by codes; in training the codes follow, after that."""
        if real is None:
            real = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        with torch.autocast(tokens.device.type, enabled=False):
            known = tokens[real].float()
            known = F.normalize(known, dim=1) if self.unit else known
            learns = self.training and len(known) > 0
            if learns and not int(self.steps):
                self.begin(known.detach())
            nearest = self.nearest(known)
            taken = self.codes[nearest]
            away = (known - taken).square().sum() / max(known.numel(), 1)
            if learns:
                step = int(self.steps)
                self.follow(known.detach(), nearest, min(self.decay, (step + 1) / (step + 10)))
                self.revive(known.detach())
                self.steps.add_(1)
            values = tokens.new_zeros(tokens.shape, dtype=torch.float32)
            values[real] = known + (taken - known).detach()
        code = torch.full(real.shape, ABSENT, device=real.device)
        code[real] = nearest
        return Quantised(values, code, away, self.perplexity(nearest))

    @torch.no_grad()
    def nearest(self, tokens: Float[Tensor, "known dim"]) -> Int[Tensor, " known"]:
        """Return the code nearest to each token."""
        codes: Tensor = self.codes
        nearness = tokens @ codes.T - codes.square().sum(1) / 2
        return nearness.argmax(1)

    def perplexity(self, taken: Int[Tensor, " known"]) -> Float[Tensor, ""]:
        """Return how many codes would be in use if all in use were taken equally often."""
        share = torch.bincount(taken, minlength=len(self.counts)) / max(len(taken), 1)
        entropy: Tensor = torch.special.entr(share).sum()
        return entropy.exp()

    @torch.no_grad()
    def begin(self, tokens: Float[Tensor, "known dim"]) -> None:
        """Let the codes be k-means of some tokens."""
        if len(tokens) < len(self.means):
            raise ValueError(
                f"The first batch has {len(tokens)} tokens for a codebook of {len(self.means)}: "
                "say fewer codes, a larger [train] batch or a shorter patch."
            )
        order = torch.randperm(len(tokens), device=tokens.device)
        self.means.copy_(first_of(tokens[order[: len(self.means)]]))
        for _ in range(LLOYD):
            self.follow(tokens, self.nearest(tokens), decay=0.0)

    @torch.no_grad()
    def follow(self, tokens: Float[Tensor, "known dim"], taken: Int[Tensor, " known"], decay: float) -> None:
        """Move counts, and with them means; a code that was not taken stays where it is."""
        counts = summed(torch.bincount(taken, minlength=len(self.counts)).float())
        sums = summed(torch.zeros_like(self.means).index_add_(0, taken, tokens))
        self.counts.lerp_(counts, 1 - decay)
        pull = (1 - decay) / self.counts.clamp(min=torch.finfo(torch.float32).tiny)
        self.means.add_(pull[:, None] * (sums - counts[:, None] * self.means))

    @torch.no_grad()
    def revive(self, tokens: Float[Tensor, "known dim"]) -> None:
        """Make random tokens of the codes that hardly any token takes."""
        average = self.counts.mean()
        dead = self.counts < self.restart * average
        drawn = first_of(tokens[torch.randint(len(tokens), self.counts.shape, device=tokens.device)])
        self.means.copy_(torch.where(dead[:, None], drawn, self.means))
        self.counts.copy_(torch.where(dead, average, self.counts))


def summed(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Add up what the processes of a training found, if there are several."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
    return values


def first_of(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Take what the first process drew, if there are several."""
    if dist.is_available() and dist.is_initialized():
        values = values.contiguous()
        dist.broadcast(values, 0)
    return values
