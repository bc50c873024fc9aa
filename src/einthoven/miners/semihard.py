"""Triplets whose negative is farther than the positive, but not by a margin.

Schroff et al. 2015, arXiv:1503.03832; with a random positive: Roth et al. 2020, arXiv:2002.08473.
"""

from typing import ClassVar

from einthoven.layers.pick import one_of, plain_distances, prefer, same_and_other_class, triplets
from einthoven.types import Batch, Miner, Outputs, Triplets

__all__ = ["Semihard"]


class Semihard(Miner):
    """Positive: any other record of the anchor's class; negative: one of another class, a little farther.

    A little is more than nothing and less than `margin`, in the Euclidean distance of embeddings from the
    anchor, `squared` by default: `margin` and `squared` belong to be those of loss `triplet`, else most of
    what is mined costs it nothing. Loss `margin` does not square. Where no record lies there, any of another
    class serves. Classes, unknown labels and views are as for `n_pair`.
    """

    asks: ClassVar[tuple[str, ...]] = ("embedding",)
    serves = ("labels", "multiclass")

    def __init__(self, *, margin: float = 0.2, squared: bool = True):
        super().__init__()
        if margin <= 0:
            raise ValueError(f"Miner 'semihard' needs a margin above 0, got {margin}.")
        self.margin, self.squared = margin, squared

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by the target and `embedding`."""
        same, other = same_and_other_class(batch)
        anchor, positive, _ = triplets(same, other)
        away, other = plain_distances(outputs)[anchor], other[anchor]
        away = away.square() if self.squared else away
        least = away.gather(1, positive[:, None])
        semihard = other & (away > least) & (away < least + self.margin)
        return Triplets(anchor, positive, one_of(prefer(semihard, other)))
