"""ResNet-18 over time, with long kernels: the encoder of hemodynamic metric learning.

He et al. 2016, arXiv:1512.03385; for ECGs: "Deep Metric Learning for the Hemodynamics Inference
with Electrocardiogram Signals", Proceedings of Machine Learning Research 219, 2023.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.conv import conv, image, kaiming, largest_of_three, steps
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["ResNet18"]


class Block(nn.Module):
    """Two convolutions of kernel 7, dropout between, and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, dropout: float):
        super().__init__()
        self.body = nn.Sequential(
            conv(width_in, width, 7, stride=stride), nn.Dropout(dropout), conv(width, width, 7, relu=False)
        )
        same = stride == 1 and width_in == width
        self.skip = nn.Identity() if same else conv(width_in, width, 1, stride=stride, relu=False)

    def forward(self, x: Float[Tensor, "batch narrow 1 time"]) -> Float[Tensor, "batch wide 1 less"]:
        """Add the body to the shortcut."""
        return F.relu(self.body(x) + self.skip(x), inplace=True)


class ResNet18(Backbone):
    """Four stages of two blocks, widths 64 to 512; a token is 32 samples."""

    def __init__(self, wants: Signal, *, width: int = 64, dropout: float = 0.2):
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        self.wants, self.dim = wants, widths[-1]
        blocks = [
            Block(widths[max(0, stage - (i == 0))], widths[stage], 2 if stage and i == 0 else 1, dropout)
            for stage in range(4)
            for i in range(2)
        ]
        stem = conv(len(wants.leads), width, 15, stride=2)
        self.body = nn.Sequential(stem, largest_of_three(), *blocks)
        kaiming(self, mode="fan_out")

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(steps(self.body(image(self.admit(ecg, leads)))))
