"""The convolutional network of the PTB-XL multimodal project (2023), for ECGs of any length."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.conv import image, kaiming, steps
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["CNN"]

SHORTEST = 30  # samples, of which the three stages leave one place


class CNN(Backbone):
    """Three convolutions (kernels 7, 5, 3; widths 16, 32, 48) with ReLU and max pooling, two dense layers.

    A token is 8 samples. As published the dense layers read all 122 places of 1,000 samples at once, which
    fixes the length and holds 98 % of 3.07 million weights; here they read each place, and the heads pool.
    `norm = "batch"` and `dropout` (of whole channels, published: 0.5) follow each convolution.
    """

    def __init__(
        self,
        wants: Signal,
        *,
        width: int = 128,
        norm: Literal["none", "batch"] = "none",
        dropout: float = 0.0,
    ):
        super().__init__()
        if wants.samples < SHORTEST:
            raise ValueError(f"Backbone 'cnn' reads {SHORTEST} samples or more, got {wants.samples}.")
        self.wants, self.dim = wants, width
        widths, layers = (len(wants.leads), 16, 32, 48), list[nn.Module]()
        for stage, kernel in enumerate((7, 5, 3)):
            before, after = widths[stage : stage + 2]
            layers += [nn.Conv2d(before, after, (1, kernel))]
            layers += [nn.BatchNorm2d(after)] if norm == "batch" else []
            layers += [nn.Dropout2d(dropout), nn.ReLU(inplace=True), nn.MaxPool2d((1, 2))]
        self.body = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(48, 512), nn.ReLU(), nn.Linear(512, width), nn.ReLU())
        kaiming(self)

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        return Tokens(self.dense(steps(self.body(image(self.admit(ecg, leads))))))
