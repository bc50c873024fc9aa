"""LSTMs over time (Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.types import Tokens


class Recurrent(nn.Module):
    """Layers of LSTM, one way or both; `dim` is the width of a token."""

    def __init__(self, leads: int, width: int, layers: int, *, both: bool):
        super().__init__()
        self.width, self.both, self.dim = width, both, width * (2 if both else 1)
        self.lstm = nn.LSTM(leads, width, layers, batch_first=True, bidirectional=both)

    def forward(self, ecg: Float[Tensor, "batch lead time"]) -> Tokens:
        """Give one token per sample, and as special token where each direction has seen everything.

        That is the last step of the forward half and the first of the backward half.
        """
        values, _ = self.lstm(ecg.transpose(1, 2))
        final = values[:, -1]
        if self.both:
            final = torch.cat([values[:, -1, : self.width], values[:, 0, self.width :]], 1)
        return Tokens(values, special=final[:, None])
