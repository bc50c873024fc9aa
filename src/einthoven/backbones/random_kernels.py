"""Random convolution kernels as a backbone: nothing in it learns, a probe on it is hard to beat."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from einthoven.types import Backbone, Signal, Tokens

__all__ = ["RandomKernels"]

ARRAYS = ("taps", "leads", "length", "dilation", "padding", "bias")


class RandomKernels(Backbone):
    """ROCKET (Dempster et al. 2020, arXiv:1910.13051): one token, two numbers of each kernel.

    These are the share of positive values and the maximum. The kernels, drawn by the run's seed, are buffers:
    saved with a run. They are computed on the CPU, wherever the rest of a model is.
    """

    def __init__(self, wants: Signal, *, kernels: int = 1500):
        super().__init__()
        if kernels < 1:
            raise ValueError(f"Backbone 'random_kernels' needs kernels from 1, got {kernels}.")
        from einthoven.layers.kernels import RandomKernels as Kernels  # numba

        self.wants, self.dim = wants, 2 * kernels
        seed = int(torch.randint(2**31, ()))  # torch's generator, which a run seeds
        drawn = Kernels.draw(len(wants.leads), wants.samples, kernels=kernels, seed=seed)
        for name in ARRAYS:
            self.register_buffer(name, torch.from_numpy(getattr(drawn, name)))

    def forward(
        self, ecg: Float[Tensor, "batch lead time"], leads: Int[Tensor, "batch lead"] | None = None
    ) -> Tokens:
        """Encode."""
        from einthoven.layers.kernels import RandomKernels as Kernels

        read = self.admit(ecg, leads).detach().float().cpu().numpy()
        arrays = {name: np.ascontiguousarray(getattr(self, name).cpu().numpy()) for name in ARRAYS}
        kernels = Kernels(**arrays, shape=(read.shape[1], read.shape[2]))
        return Tokens(torch.from_numpy(kernels.transform(read))[:, None].to(ecg.device))
