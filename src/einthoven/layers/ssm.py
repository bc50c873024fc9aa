"""Diagonal state spaces over time: each channel drives damped oscillators and reads them out.

S4D, Gu et al. 2022, arXiv:2206.11893, written from its equations: long convolutions with few weights.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class StateSpace(nn.Module):
    """Filter every channel by its own oscillators, forwards and backwards in time.

    With A = -damping + i frequency (S4D-Lin: 1/2 and 0, pi, 2 pi ...) and the output matrix C,

        x' = A x + u,   y = 2 Re(C x),

    solved exactly for inputs that are held over each sample (zero-order hold). The same oscillators
    read the reversed input with a second C; the sum, plus D u, is one convolution. `state` counts
    conjugates as well: it is twice the number of oscillators. `pace` is the length of a sample in
    units of the steps that are learned.

    Damping and step are learned as logarithms, so no learning rate can make the system unstable. C
    is kept as pairs of real numbers, which optimisers, averages and safetensors take.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 8,
        pace: float = 1.0,
        shortest: float = 1e-3,
        longest: float = 1e-1,
    ):
        super().__init__()
        if state < 2 or state % 2:
            raise ValueError(f"state is an even number from 2 (conjugate pairs), got {state}.")
        modes, low, high = state // 2, math.log(shortest), math.log(longest)
        self.pace = pace
        self.log_step = nn.Parameter(torch.empty(width).uniform_(low, high))
        self.log_damping = nn.Parameter(torch.full((width, modes), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(float(modes)).repeat(width, 1))
        self.readout = nn.Parameter(torch.randn(2, width, modes, 2) * math.sqrt(0.5))  # C: real, imaginary
        self.through = nn.Parameter(torch.randn(width))  # D

    def responses(self, time: int) -> Float[Tensor, "direction width time"]:
        """Return what an impulse causes in `time` samples, forwards and backwards, without D."""
        poles = torch.complex(-self.log_damping.exp(), self.frequency)
        turn = poles * (self.pace * self.log_step.exp()[:, None])  # log of what one sample does to a state
        heard = torch.view_as_complex(self.readout) * torch.expm1(turn) / poles
        powers = torch.exp(turn[..., None] * torch.arange(time, device=turn.device))  # Vandermonde's matrix
        return 2 * torch.einsum("dwm,wmt->dwt", heard, powers).real

    def kernel(self, time: int) -> Float[Tensor, "width lag"]:
        """Return both responses on one circle of 2 `time` lags: 0, 1 ... time - 1, none, 1 - time ... -1."""
        ahead, back = self.responses(time)
        now = ahead[:, :1] + back[:, :1] + self.through[:, None]
        return torch.cat([now, ahead[:, 1:], torch.zeros_like(now), back[:, 1:].flip(1)], 1)

    def forward(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        """Filter; in the precision of the weights, since FFTs know no bfloat16."""
        with torch.autocast(x.device.type, enabled=False):
            kernel = self.kernel(x.shape[1])
            y: Tensor = Convolution.apply(x.to(kernel.dtype), kernel)
        return y


class Convolution(torch.autograd.Function):
    """Convolve over time on the circle of the kernel, by FFT.

    The derivatives are convolutions again; written out, they take real FFTs where autograd would
    take complex ones.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "batch time width"], kernel: Float[Tensor, "width lag"]
    ) -> Float[Tensor, "batch time width"]:
        """Pad, multiply spectra, crop."""
        ctx.time, ctx.lags = x.shape[1], kernel.shape[1]
        x_hat, kernel_hat = spectrum(x, ctx.lags), torch.fft.rfft(kernel)
        ctx.save_for_backward(x_hat, kernel_hat)
        return signal(x_hat * kernel_hat, ctx.lags, ctx.time)

    @staticmethod
    def backward(
        ctx: Any, *upstream: Float[Tensor, "batch time width"]
    ) -> tuple[Float[Tensor, "batch time width"], Float[Tensor, "width lag"]]:
        """Correlate what comes back with the kernel, and with the input."""
        x_hat, kernel_hat = ctx.saved_tensors
        back_hat = spectrum(upstream[0], ctx.lags)
        kernel_back = torch.fft.irfft((back_hat * x_hat.conj()).sum(0), n=ctx.lags)
        return signal(back_hat.mul_(kernel_hat.conj()), ctx.lags, ctx.time), kernel_back


def spectrum(x: Float[Tensor, "batch time width"], lags: int) -> Tensor:
    """Return the FFT (batch, width, frequency) of a signal padded to `lags`; time must lie side by side."""
    found: Tensor = torch.fft.rfft(x.transpose(1, 2).contiguous(), n=lags)
    return found


def signal(spectra: Tensor, lags: int, time: int) -> Float[Tensor, "batch time width"]:
    """Return the first samples of the inverse FFT, channels side by side."""
    found: Tensor = torch.fft.irfft(spectra, n=lags)
    return found[..., :time].transpose(1, 2).contiguous()
