"""The fully convolutional network of Wang et al. 2017 (arXiv:1611.06455), as in the PTB-XL benchmark.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.conv import conv, image, kaiming, steps
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["FCNWang"]


class FCNWang(Backbone):
    """Three convolutions, no striding: a token is one sample (the first kernel of 8 takes one off)."""

    def __init__(self, wants: Signal, *, width: int = 128):
        super().__init__()
        self.wants, self.dim = wants, width
        first = conv(len(wants.leads), width, 8, padding=3)
        self.body = nn.Sequential(first, conv(width, 2 * width, 5), conv(2 * width, width, 3))
        kaiming(self)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(steps(self.body(image(self.admit(ecg, leads)))))
