"""N-pair loss: one positive against all negatives of a batch (Sohn 2016, NeurIPS)."""

from jaxtyping import Float
from torch import Tensor

from einthoven.layers.n_pair import n_pair, rivals_of, size_of
from einthoven.layers.space import embedded
from einthoven.types import Batch, Loss, Miner, Outputs

__all__ = ["NPair"]


class NPair(Loss):
    """Mean over mined triplets (a, p, n) of log(1 + sum over n' of exp(a.(n' - p))), plus `size` x mean |z|.

    Embeddings are not normalised: `size` keeps them short, and a.(n' - p) is held within +-50. n' runs over
    every row that is a negative in the batch, each once, but for those that belong with a: views of its
    record, what was mined as its positive, and rows with its labels (of its patient, if the miner reads no
    labels). What was mined as its own negative always counts.
    """

    asks = ("embedding",)
    serves = ("labels", "multiclass", "regression", "unlabelled")

    def __init__(self, *, miner: Miner, size: float = 0.005):
        super().__init__()
        if size < 0:
            raise ValueError(f"Loss 'n_pair' needs a size from 0, got {size:g}.")
        self.miner, self.size = miner, size

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare the mined triplets in `embedding`."""
        mined, embedding = self.miner(outputs, batch), embedded(outputs)
        rivals = rivals_of(mined, batch, self.miner)
        return n_pair(embedding, mined, rivals) + self.size * size_of(embedding, mined)
