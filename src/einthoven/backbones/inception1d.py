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


class Group(nn.Module):
    """Three inceptions and a shortcut around them."""

    def __init__(self, width_in: int, width: int, kernels: Sequence[int]):
        super().__init__()
        dim = width * (len(kernels) + 1)
        self.body = nn.Sequential(*(Inception(width_in if i == 0 else dim, width, kernels) for i in range(3)))
        self.skip = conv(width_in, dim, 1, relu=False)

    def forward(self, x: Float[Tensor, "batch narrow 1 time"]) -> Float[Tensor, "batch wide 1 time"]:
        """Add the body to the shortcut."""
        return F.relu(self.body(x) + self.skip(x))


class Inception1d(Backbone):
    """Groups of three inceptions; a token is one sample."""

    def __init__(
        self, wants: Signal, *, width: int = 32, groups: int = 2, kernels: Sequence[int] = (39, 19, 9)
    ):
        super().__init__()
        if groups < 1:
            raise ValueError(f"inception1d has groups from 1, got {groups}.")
        if even := [kernel for kernel in kernels if kernel % 2 == 0]:
            raise ValueError(f"Kernels of inception1d have odd lengths, got {even[0]}.")
        self.wants, self.dim = wants, width * (len(kernels) + 1)
        widths = [len(wants.leads), *[self.dim] * (groups - 1)]
        self.body = nn.Sequential(*(Group(width_in, width, kernels) for width_in in widths))
        kaiming(self)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(steps(self.body(image(self.admit(ecg, leads)))))
