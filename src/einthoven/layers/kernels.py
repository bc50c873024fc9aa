"""Random convolution kernels: features nobody trained, the row a network has to beat.

ROCKET, Dempster et al. 2020, arXiv:1910.13051: each kernel has random taps, bias, dilation and padding,
and gives two features of an ECG: the share of positive values (PPV) and the maximum. For 12 leads a
kernel reads a few random leads and sums them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from einthoven.cores import shared

LENGTHS = (7, 9, 11)
MILLIVOLTS = 0.25  # about the standard deviation of an ECG: bias and signal meet at one scale


@dataclass(frozen=True)
class RandomKernels:
    """Kernels for ECGs of one length. Taps beyond a kernel's length and leads beyond its number are zero."""

    taps: Float[np.ndarray, "kernel slot tap"]
    leads: Int[np.ndarray, "kernel slot"]
    length: Int[np.ndarray, " kernel"]
    dilation: Int[np.ndarray, " kernel"]
    padding: Int[np.ndarray, " kernel"]
    bias: Float[np.ndarray, " kernel"]
    shape: tuple[int, int]  # (leads, samples) of the ECGs they were drawn for

    @staticmethod
    def draw(leads: int, time: int, *, kernels: int = 1500, slots: int = 3, seed: int = 0) -> "RandomKernels":
        """Draw kernels of up to `slots` leads each for ECGs of `time` samples."""
        if time < max(LENGTHS):
            raise ValueError(f"Random kernels need at least {max(LENGTHS)} samples, got {time}.")
        random = np.random.default_rng(seed)
        length = random.choice(LENGTHS, kernels)
        widest = np.log2((time - 1) / (length - 1))
        dilation = (2 ** random.uniform(0, widest)).astype(np.int64)
        padding = random.integers(0, 2, kernels) * ((length - 1) * dilation // 2)
        slots = min(slots, leads)
        chosen = np.argsort(random.random((kernels, leads)), axis=1)[:, :slots]
        used = np.arange(slots) < random.integers(1, slots + 1, kernels)[:, None]
        real = np.arange(max(LENGTHS)) < length[:, None]
        taps = random.normal(size=(kernels, slots, max(LENGTHS))) * real[:, None]
        taps -= taps.sum(2, keepdims=True) / length[:, None, None] * real[:, None]
        taps *= used[:, :, None]
        bias = random.uniform(-1, 1, kernels)
        return RandomKernels(
            taps.astype(np.float32), chosen, length, dilation, padding, bias.astype(np.float32), (leads, time)
        )

    def transform(self, ecg: Float[np.ndarray, "record lead time"]) -> Float[np.ndarray, "record feature"]:
        """Return PPV and maximum of every kernel, kernel by kernel; `ecg` in mV, as float32."""
        if not np.isfinite(ecg).all():
            raise ValueError("Random kernels cannot read NaN or infinite samples.")
        if ecg.shape[1:] != self.shape:
            ours, theirs = ("{} leads of {} samples".format(*shape) for shape in (self.shape, ecg.shape[1:]))
            raise ValueError(f"These random kernels read {ours}, got {theirs}.")
        scaled = np.ascontiguousarray(ecg, np.float32) / np.float32(MILLIVOLTS)
        out = np.empty((len(ecg), 2 * len(self.bias)), np.float32)

        def work(some: slice) -> None:
            transform(
                scaled[some],
                self.taps,
                self.leads,
                self.length,
                self.dilation,
                self.padding,
                self.bias,
                out[some],
            )

        shared(work, len(ecg), steps=scaled.size * len(self.bias))
        return out


@njit(nogil=True, cache=True)
def convolve(
    ecg: np.ndarray,
    taps: np.ndarray,
    leads: np.ndarray,
    length: int,
    dilation: int,
    padding: int,
    values: np.ndarray,
) -> None:
    """Add the taps times the leads (lead, time) to the values; outside the ECG is zero."""
    time = ecg.shape[1]
    for slot in range(len(leads)):
        signal = ecg[leads[slot]]
        for tap in range(length):
            shift = tap * dilation - padding
            first, stop = max(0, -shift), min(len(values), time - shift)
            weight = taps[slot, tap]
            if weight != 0:
                source, target = signal[first + shift : stop + shift], values[first:stop]
                for place in range(stop - first):
                    target[place] += weight * source[place]


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def summarise(values: np.ndarray) -> tuple[float, float]:
    """Return the share of values above zero, and the maximum."""
    above, highest = 0, values[0]
    for value in values:
        above += value > 0
        highest = max(highest, value)
    return above / len(values), highest


@njit(nogil=True, cache=True)
def transform(
    ecg: np.ndarray,
    taps: np.ndarray,
    leads: np.ndarray,
    length: np.ndarray,
    dilation: np.ndarray,
    padding: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out (record, 2 kernels)."""
    time = ecg.shape[2]
    buffer = np.empty(time, np.float32)
    for record in range(len(ecg)):
        for kernel in range(len(bias)):
            size = time + 2 * padding[kernel] - (length[kernel] - 1) * dilation[kernel]
            values = buffer[:size]
            values[:] = bias[kernel]
            convolve(
                ecg[record],
                taps[kernel],
                leads[kernel],
                length[kernel],
                dilation[kernel],
                padding[kernel],
                values,
            )
            out[record, 2 * kernel], out[record, 2 * kernel + 1] = summarise(values)
