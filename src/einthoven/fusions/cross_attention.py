"""Words and places of the ECG attend to each other."""

from typing import ClassVar

from torch import nn

from einthoven.layers.beside import Ask, Words, every, parted, refuse_one_place
from einthoven.types import Fusion, Tokens

__all__ = ["CrossAttention"]


class CrossAttention(Fusion):
    """Each word looks at the places of the ECG, then each place at the words that have; with shortcuts.

    It needs a text part that gives a token per word, and a backbone that gives more than one.
    """

    needs_words: ClassVar[bool] = True

    def __init__(self, dim: int, text_dim: int, *, heads: int = 4):
        super().__init__()
        self.words = Words(text_dim, dim)
        self.norm_ecg, self.norm_words, self.norm_knowing = (nn.LayerNorm(dim) for _ in range(3))
        self.of_ecg, self.of_words = Ask(dim, heads), Ask(dim, heads)

    def forward(self, ecg: Tokens, text: Tokens) -> Tokens:
        """Fuse."""
        refuse_one_place(ecg, "cross_attention")
        words, whole = self.words(text), every(ecg)
        places = whole._replace(values=self.norm_ecg(whole.values))
        knowing = words.values + self.of_ecg(self.norm_words(words.values), places)
        heard = self.of_words(places.values, words._replace(values=self.norm_knowing(knowing)))
        return parted(whole.values + heard, ecg)
