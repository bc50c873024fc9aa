"""A space whose distances are those between raw ECGs: one pass of a network in the place of many comparisons.

After the siamese network that regresses DTW in "Deep Metric Learning for the Hemodynamics Inference with
Electrocardiogram Signals", Proceedings of Machine Learning Research 219, 2023.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.space import embedded, mean, root, squares
from einthoven.types import Batch, Distance, Loss, Outputs

__all__ = ["Surrogate"]


class Surrogate(Loss):
    """Root mean squared difference (mV) between distances of embeddings and of raw ECGs, over all pairs.

    Both towers of a siamese network are one network here, and the Euclidean distance compares them: an ECG
    is read once, not once for each of its pairs. Two views of a record are no pair, nor are two ECGs that
    cannot be compared (NaN).
    """

    asks: ClassVar[tuple[str, ...]] = ("embedding",)
    serves = ("labels", "multiclass", "regression", "unlabelled")

    def __init__(self, *, distance: Distance):
        super().__init__()
        self.distance = distance

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare all pairs of different records in `embedding`."""
        embedding = embedded(outputs)
        rows, record = batch.row.unique(return_inverse=True)
        raw = torch.from_numpy(self.distance.among(rows.cpu().numpy())).to(embedding.device)
        one, other = torch.triu_indices(len(record), len(record), 1, device=embedding.device)
        wanted = raw[record[one], record[other]]
        part = (batch.row[one] != batch.row[other]) & ~wanted.isnan()
        square = squares(embedding, one[part], other[part])
        error = (square + 1e-8).sqrt() - wanted[part]
        return root(mean(error.square())[None])[0]
