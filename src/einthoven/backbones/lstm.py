"""The LSTM of the PTB-XL benchmark (Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989)."""

from jaxtyping import Float, Int
from torch import Tensor

from einthoven.layers.recurrent import Recurrent
from einthoven.types import Backbone, Signal, Tokens

__all__ = ["LSTM"]


class LSTM(Backbone):
    """Two layers; a token is one sample, the special token is the last. Pool `mean`, `max` and `special`."""

    def __init__(self, wants: Signal, *, width: int = 256, layers: int = 2):
        super().__init__()
        self.recurrent = Recurrent(len(wants.leads), width, layers, both=False)
        self.wants, self.dim = wants, self.recurrent.dim

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode ECGs in millivolts."""
        tokens: Tokens = self.recurrent(self.admit(ecg, leads))
        return tokens
