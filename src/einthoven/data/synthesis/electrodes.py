"""From the heart's dipole to twelve leads: a lead field, nine electrodes, and the noise of each of them.

Noise is added to electrodes, never to leads. So Einthoven's and Goldberger's laws hold to rounding in
what comes out, noise and all, as they do in what an amplifier measures.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numba import njit

Field = Float[np.ndarray, "electrode 3"]
Levels = Float[np.ndarray, " electrode"]

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

# Potential of each electrode against Wilson's terminal for a dipole of 1 mV along x (left), y (feet),
# z (back). Rounded values of our own in the spirit of Dower's: V1 and V2 see the front of the heart, V5
# and V6 its left, and the three limbs add up to nothing.
FIELD = np.array(
    [
        [-0.29, -0.28, 0.03],
        [0.34, -0.51, 0.08],
        [-0.05, 0.79, -0.11],
        [-0.50, 0.16, -0.92],
        [0.05, 0.16, -1.38],
        [0.86, 0.10, -1.25],
        [1.20, 0.13, -0.60],
        [1.12, 0.12, -0.09],
        [0.83, 0.08, 0.23],
    ]
)
CUTOFF = 150.0  # Hz, where the amplifier's filter has halved the power


@dataclass(frozen=True)
class Noise:
    """How noisy one record is; sd or amplitude of each electrode in mV."""

    muscle: Levels  # sd per 500 Hz of bandwidth
    drift: Levels
    breath: Levels
    hum: Levels
    breath_hertz: float
    hum_hertz: float
    burst: tuple[float, float, float]  # time (s), sd (s) and height of a burst of muscle noise


def field_of(body: Field, rng: np.random.Generator) -> Field:
    """Return one visit's lead field: a body differs (in sd), and electrodes never go back exactly."""
    size = np.abs(FIELD).sum(axis=1, keepdims=True)
    field: Field = FIELD + size * (0.05 * body + 0.025 * rng.standard_normal(FIELD.shape))
    field[:3] -= field[:3].mean(axis=0)
    return field


def noise_of(seconds: float, breath: float, rng: np.random.Generator) -> Noise:
    """Draw the noise of one record: most are clean, some are hard to read."""

    def levels(log_mean: float, log_sd: float) -> Levels:
        return np.exp(rng.normal(log_mean, log_sd) + rng.normal(0, 0.3, len(ELECTRODES)))

    bursts = rng.random() < 0.15
    return Noise(
        muscle=levels(-4.0, 0.45),
        drift=levels(-3.2, 0.7),
        breath=levels(-4.2, 0.6) * rng.standard_normal(len(ELECTRODES)),
        hum=levels(-5.0, 0.9),
        breath_hertz=breath,
        hum_hertz=50.0 if rng.random() < 0.7 else 60.0,
        burst=(rng.uniform(0, seconds), rng.uniform(0.3, 1.5), bursts * rng.uniform(0.5, 2.5)),
    )


def record_leads(
    waves: Float[np.ndarray, "wave 5"],
    field: Field,
    noise: Noise,
    *,
    hertz: float,
    samples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "lead time"]:
    """Return twelve leads in float32 mV, in the order of `LEADS`, as an amplifier at `hertz` writes them.

    The filter in front of the sampler is Gaussian, half its power left at 0.4 `hertz` (150 Hz at most).
    A Gaussian wave through it is a wider Gaussian, so waves are filtered exactly and before sampling;
    mains above half of `hertz` does not come through.
    """
    smear = math.sqrt(math.log(2) / 2) / (math.tau * min(0.4 * hertz, CUTOFF))
    potentials = electrode_noise(
        rng.standard_normal((len(ELECTRODES), samples + 1), dtype=np.float32),
        noise.muscle * math.sqrt(hertz / 500),
        noise.drift,
        noise.breath,
        noise.hum if noise.hum_hertz < hertz / 2 else 0 * noise.hum,
        noise.breath_hertz / hertz,
        noise.hum_hertz / hertz,
        (noise.burst[0] * hertz, noise.burst[1] * hertz, noise.burst[2]),
        hertz,
    )
    return leads_of(sum_waves(waves, samples, hertz, smear), field, potentials)


@njit(cache=True)
def sum_waves(waves: np.ndarray, samples: int, hertz: float, smear: float) -> np.ndarray:
    """Add all waves up to the dipole (3, time); each reaches 4.5 sd to either side."""
    dipole = np.zeros((3, samples))
    for wave in range(waves.shape[0]):
        time, sd, x, y, z = waves[wave]
        wide = math.sqrt(sd * sd + smear * smear)
        first = max(math.ceil((time - 4.5 * wide) * hertz), 0)
        last = min(math.floor((time + 4.5 * wide) * hertz), samples - 1)
        for sample in range(first, last + 1):
            away = (sample / hertz - time) / wide
            height = sd / wide * math.exp(-0.5 * away * away)
            dipole[0, sample] += height * x
            dipole[1, sample] += height * y
            dipole[2, sample] += height * z
    return dipole


@njit(cache=True)
def electrode_noise(  # noqa: PLR0913 - a kernel takes plain arrays
    white: np.ndarray,
    muscle: np.ndarray,
    drift: np.ndarray,
    breath: np.ndarray,
    hum: np.ndarray,
    breath_turns: float,
    hum_turns: float,
    burst: tuple[float, float, float],
    hertz: float,
) -> np.ndarray:
    """Return the noise of each electrode (electrode, time) in mV; turns are cycles per sample."""
    electrodes, samples = white.shape[0], white.shape[1] - 1
    noise = np.empty((electrodes, samples))
    keep, follow = math.exp(-1 / (1.5 * hertz)), 1 - math.exp(-1 / (0.25 * hertz))
    step = math.sqrt(1 - keep * keep)
    hums = hum.max() > 0
    shared = np.empty((3, samples))
    for t in range(samples):
        shared[0, t] = 1 + burst[2] * math.exp(-0.5 * ((t - burst[0]) / burst[1]) ** 2)
        shared[1, t] = math.sin(math.tau * breath_turns * t)
        shared[2, t] = math.sin(math.tau * hum_turns * t) if hums else 0.0
    for e in range(electrodes):
        # Two leaky integrators in a row: a wander that is smooth, never the same, and stays near zero.
        rough = smooth = np.float64(white[e, samples])
        for t in range(samples):
            value = np.float64(white[e, t])
            smooth += follow * (rough - smooth)
            noise[e, t] = (
                muscle[e] * shared[0, t] * value
                + drift[e] * smooth
                + breath[e] * shared[1, t]
                + hum[e] * shared[2, t]
            )
            rough = keep * rough + step * value
    return noise


@njit(cache=True)
def leads_of(dipole: np.ndarray, field: np.ndarray, potentials: np.ndarray) -> np.ndarray:
    """Let electrodes see the dipole, then measure twelve leads (lead, time) between them."""
    samples = dipole.shape[1]
    leads = np.empty((12, samples), np.float32)
    for e in range(field.shape[0]):
        x, y, z = field[e]
        for t in range(samples):
            potentials[e, t] += x * dipole[0, t] + y * dipole[1, t] + z * dipole[2, t]
    right, left, foot = potentials[0], potentials[1], potentials[2]
    for t in range(samples):
        leads[0, t] = left[t] - right[t]
        leads[1, t] = foot[t] - right[t]
        leads[2, t] = foot[t] - left[t]
        leads[3, t] = right[t] - (left[t] + foot[t]) / 2
        leads[4, t] = left[t] - (right[t] + foot[t]) / 2
        leads[5, t] = foot[t] - (right[t] + left[t]) / 2
    for chest in range(6):
        seen = potentials[3 + chest]
        for t in range(samples):
            leads[6 + chest, t] = seen[t] - (right[t] + left[t] + foot[t]) / 3
    return leads
