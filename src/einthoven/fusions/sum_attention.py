"""The report's words added to the ECG, whose places then attend to each other.

MMCNN_SUM_ATT of the PTB-XL multimodal project (2023), mended: as published it attended to one token, itself.
"""

import torch.nn.functional as F
from torch import nn

from einthoven.layers.attention import Attention, Sight
from einthoven.layers.beside import Words, every, parted, refuse_one_place
from einthoven.types import Fusion, Tokens

__all__ = ["SumAttention"]


class SumAttention(Fusion):
    """Add the mean word, after ReLU, to every token; a layer norm, then self-attention with a shortcut.

    It needs a backbone that gives more than one token.
    """

    def __init__(self, dim: int, text_dim: int, *, heads: int = 8):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"Attention with {heads} heads needs a width that they divide, got {dim}.")
        self.words, self.norm = Words(text_dim, dim), nn.LayerNorm(dim)
        self.attend = Attention(dim, heads)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        refuse_one_place(ecg, "sum_attention")
        words, whole = F.relu(self.words.mean(text)), every(ecg)
        both = self.norm(whole.values + words)
        return parted(both + self.attend(both, Sight(whole.real)), ecg)
