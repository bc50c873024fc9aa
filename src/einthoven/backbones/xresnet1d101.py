"""XResNet-101 over time (He et al. 2018, arXiv:1812.01187), as in the PTB-XL benchmark.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989: kernels of 5, inner width 64 in all stages.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.conv import conv, image, kaiming, largest_of_three, steps
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["XResNet1d101"]


class Bottleneck(nn.Module):
    """Narrow, convolve, widen, and add; the shortcut averages where the body strides."""

    def __init__(self, width_in: int, inner: int, stride: int):
        super().__init__()
        width = 4 * inner
        last = conv(inner, width, 1, relu=False)
        nn.init.zeros_(last[1].weight)  # type: ignore[arg-type]  # each block starts as its shortcut
        self.body = nn.Sequential(conv(width_in, inner, 1), conv(inner, inner, 5, stride=stride), last)
        shrink = [nn.AvgPool2d((1, 2), ceil_mode=True)] if stride > 1 else []
        widen = [conv(width_in, width, 1, relu=False)] if width_in != width else []
        self.skip = nn.Sequential(*shrink, *widen)

    def forward(self, x: Float[Tensor, "batch narrow 1 time"]) -> Float[Tensor, "batch wide 1 less"]:
        """Add the body to the shortcut."""
        return F.relu(self.body(x) + self.skip(x), inplace=True)


class XResNet1d101(Backbone):
    """Bottlenecks in stages of `blocks`; a token is 32 samples."""

    def __init__(self, wants: Signal, *, inner: int = 64, blocks: Sequence[int] = (3, 4, 23, 3)):
        super().__init__()
        self.wants, self.dim = wants, 4 * inner
        stem = [conv(len(wants.leads), 32, 5, stride=2), conv(32, 32, 5), conv(32, 64, 5)]
        stages = [
            Bottleneck(64 if stage + i == 0 else self.dim, inner, 2 if stage and i == 0 else 1)
            for stage, count in enumerate(blocks)
            for i in range(count)
        ]
        self.body = nn.Sequential(*stem, largest_of_three(), *stages)
        kaiming(self)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(steps(self.body(image(self.admit(ecg, leads)))))
