"""InceptionTime (Ismail Fawaz et al. 2020, doi:10.1007/s10618-020-00710-y), as in the PTB-XL benchmark.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.conv import conv, image, kaiming, steps
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["Inception1d"]


class Inception(nn.Module):
    """Convolutions of several lengths side by side behind one bottleneck, and a pooled path."""

    def __init__(self, width_in: int, width: int, kernels: Sequence[int]):
        super().__init__()
        self.bottleneck = nn.Conv2d(width_in, width, 1, bias=False)
        self.paths = nn.ModuleList(
            nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), bias=False) for kernel in kernels
        )
        self.pool = nn.MaxPool2d((1, 3), 1, (0, 1))
        self.pooled = nn.Conv2d(width_in, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width * (len(kernels) + 1))

    def forward(self, x: Float[Tensor, "batch narrow 1 time"]) -> Float[Tensor, "batch wide 1 time"]:
        """Concatenate the paths."""
        narrow = self.bottleneck(x)
        paths = [path(narrow) for path in self.paths]
        return F.relu(self.norm(torch.cat([*paths, self.pooled(self.pool(x))], 1)), inplace=True)


class Inception1d(Backbone):
    """Blocks of inception, a shortcut around every third; a token is one sample."""

    def __init__(
        self, wants: Signal, *, width: int = 32, blocks: int = 6, kernels: Sequence[int] = (39, 19, 9)
    ):
        super().__init__()
        if even := [kernel for kernel in kernels if kernel % 2 == 0]:
            raise ValueError(f"Kernels of inception1d have odd lengths, got {even[0]}.")
        self.wants, self.dim = wants, width * (len(kernels) + 1)
        widths = [len(wants.leads)] + [self.dim] * blocks
        self.blocks = nn.ModuleList(Inception(widths[i], width, kernels) for i in range(blocks))
        self.skips = nn.ModuleList(conv(widths[i], self.dim, 1, relu=False) for i in range(0, blocks - 2, 3))
        kaiming(self)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        x = begin = image(self.admit(ecg, leads))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i % 3 == 2:
                x = begin = F.relu(x + self.skips[i // 3](begin))
        return Tokens(steps(x))
