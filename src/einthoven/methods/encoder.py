"""A backbone alone: what weights that were learned elsewhere become."""

from torch import Tensor

from einthoven.layers.pool import mean
from einthoven.types import Backbone, Batch, Method, Outputs

__all__ = ["Encoder"]


class Encoder(Method):
    """It answers with features and learns nothing: another run starts from its backbone."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def outputs(self, batch: Batch) -> Outputs:
        """Answer."""
        return Outputs(features=mean(self.backbone(batch.ecg, batch.leads)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Refuse to learn."""
        raise ValueError(
            "Method 'encoder' learns nothing: choose [method] name = 'direct' with a [head] and a [loss], "
            "or one that learns without labels (einthoven list methods)."
        )
