"""The small residual network of Wang et al. 2017 (arXiv:1611.06455), as in the PTB-XL benchmark.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.conv import conv, image, kaiming, steps
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["ResNet1dWang"]


class Block(nn.Module):
    """Two convolutions and a shortcut; the first may halve the time axis."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(conv(width, width, 5, stride=stride), conv(width, width, 3, relu=False))
        self.skip = conv(width, width, 1, stride=stride, relu=False) if stride > 1 else nn.Identity()

    def forward(self, x: Float[Tensor, "batch width 1 time"]) -> Float[Tensor, "batch width 1 less"]:
        """Add the body to the shortcut."""
        return F.relu(self.body(x) + self.skip(x), inplace=True)


class ResNet1dWang(Backbone):
    """Three residual blocks of one width; a token is four samples."""

    def __init__(self, wants: Signal, *, width: int = 128):
        super().__init__()
        self.wants, self.dim = wants, width
        self.stem = conv(len(wants.leads), width, 7)
        self.blocks = nn.Sequential(Block(width, 1), Block(width, 2), Block(width, 2))
        kaiming(self)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(steps(self.blocks(self.stem(image(self.admit(ecg, leads))))))
