"""The BERT encoder, for one text at a time. Devlin et al. 2019, arXiv:1810.04805."""

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from einthoven.layers.attention import attend

SAME = (  # what published weights call it, what it is called here
    ("embeddings.word_embeddings.", "words."),
    ("embeddings.position_embeddings.", "places."),
    ("embeddings.LayerNorm.", "norm."),
    ("encoder.layer.", "layers."),
    ("attention.self.", ""),
    ("attention.output.dense.", "out."),
    ("attention.output.LayerNorm.", "norm1."),
    ("intermediate.dense.", "widen."),
    ("output.dense.", "narrow."),
    ("output.LayerNorm.", "norm2."),
)
EPSILON = 1e-12


class Layer(nn.Module):
    """Attention, then a perceptron four times as wide, each with its shortcut before a norm."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)

    def forward(
        self, x: Float[Tensor, "batch token dim"], see: Bool[Tensor, "batch 1 1 token"]
    ) -> Float[Tensor, "batch token dim"]:
        """Transform; all see the tokens of `see`."""
        q, k, v = (
            side(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for side in (self.query, self.key, self.value)
        )
        x = self.norm1(x + self.out(attend(q, k, v, see).transpose(1, 2).flatten(2)))
        out: Tensor = self.norm2(x + self.narrow(F.gelu(self.widen(x))))
        return out


class Bert(nn.Module):
    """Word-pieces in, as many vectors out."""

    def __init__(self, vocabulary: int, dim: int, layers: int, heads: int, *, longest: int = 512):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, dim), nn.Embedding(longest, dim)
        self.norm = nn.LayerNorm(dim, EPSILON)
        self.layers = nn.ModuleList([Layer(dim, heads) for _ in range(layers)])

    def forward(
        self, pieces: Int[Tensor, "batch token"], there: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token dim"]:
        """Encode; `there` says which are not padding."""
        x: Tensor = self.norm(self.words(pieces) + self.places.weight[: pieces.shape[1]])
        for layer in self.layers:
            x = layer(x, there[:, None, None])
        return x

    def fill(self, published: Mapping[str, Tensor]) -> None:
        """Take weights by their published names. Single texts are of the first kind, and need no pooler."""
        kind = published["embeddings.token_type_embeddings.weight"][0]
        mine = {}
        for name, value in published.items():
            for theirs, ours in SAME:
                name = name.replace(theirs, ours)
            mine[name] = value + kind if name == "places.weight" else value
        self.load_state_dict({name: mine[name] for name in self.state_dict()})
