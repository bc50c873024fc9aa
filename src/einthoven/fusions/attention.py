"""The report asks the ECG: MMCNN_ATT of the PTB-XL multimodal project (2023), mended.

As published the ECG was a single key. A softmax over one key is 1: the answer did not depend on the report.
"""

from torch import nn

from einthoven.layers.beside import Ask, Words, every, parted, refuse_one_place
from einthoven.layers.pool import mean
from einthoven.types import Fusion, Tokens

__all__ = ["Attention"]


class Attention(Fusion):
    """Words attend to the places of the ECG; what they find is added to every token, on average over words.

    `shortcut` adds the words themselves, too, as a transformer does. Without, as published, a report says
    only where to look. It needs a backbone that gives more than one token.
    """

    def __init__(self, dim: int, text_dim: int, *, heads: int = 8, shortcut: bool = True):
        super().__init__()
        self.words, self.shortcut = Words(text_dim, dim), shortcut
        self.norm_ecg, self.norm_words = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.of_ecg = Ask(dim, heads)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        refuse_one_place(ecg, "attention")
        words, whole = self.words(text), every(ecg)
        places = whole._replace(values=self.norm_ecg(whole.values))
        found = self.of_ecg(self.norm_words(words.values), places)
        told = mean(words._replace(values=found))[:, None]
        return parted(whole.values + (told + self.words.mean(text) if self.shortcut else told), ecg)
