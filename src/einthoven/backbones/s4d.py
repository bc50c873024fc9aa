"""A bidirectional diagonal state-space network: S4D, Gu et al. 2022, arXiv:2206.11893.

For ECGs, S4 networks of this shape: Mehari & Strodthoff 2022, arXiv:2211.07579.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.ssm import StateSpace
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["S4D"]


class Block(nn.Module):
    """Filter over time, mix the channels, add, normalise."""

    def __init__(self, width: int, state: int, pace: float, dropout: float):
        super().__init__()
        self.filter = StateSpace(width, state=state, pace=pace)
        self.mix = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        """Drop whole channels, as S4 does: what one time step loses its neighbours would tell."""
        mixed = F.glu(self.mix(F.gelu(self.filter(x))), dim=-1)
        kept = self.dropout(torch.ones_like(mixed[:, :1]))
        out: Tensor = self.norm(torch.addcmul(x, mixed, kept))
        return out


class S4D(Backbone):
    """Blocks of one width at the full rate; a token is a sample, which has seen the whole window.

    The published networks are 512 wide (`width = 512`) with lr 1e-3; 128 learns a few thousand ECGs
    on two cores in minutes. Time constants are in units of 10 ms, whatever the rate and the length
    of the window: equal weights are equal filters at 250 Hz, and on 10 s.
    """

    def __init__(
        self, wants: Signal, *, width: int = 128, layers: int = 4, state: int = 8, dropout: float = 0.2
    ):
        super().__init__()
        self.wants, self.dim = wants, width
        self.stem = nn.Linear(len(wants.leads), width)
        blocks = [Block(width, state, 100 / wants.hertz, dropout) for _ in range(layers)]
        self.blocks = nn.Sequential(*blocks)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(self.blocks(self.stem(self.admit(ecg, leads).transpose(1, 2))))
