"""The report's words added to the ECG, then a layer norm.

MMCNN_SUM of the PTB-XL multimodal project (2023).
"""

import torch.nn.functional as F
from torch import nn

from einthoven.layers.beside import Words, every, parted
from einthoven.types import Fusion, Tokens

__all__ = ["Sum"]


class Sum(Fusion):
    """Add the mean word, after ReLU, to every token."""

    def __init__(self, dim: int, text_dim: int):
        super().__init__()
        self.words, self.norm = Words(text_dim, dim), nn.LayerNorm(dim)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        words = F.relu(self.words.mean(text))
        return parted(self.norm(every(ecg).values + words), ecg)
