"""The loops of the made-up heart's dipole: P, QRS, ST and T as sums of Gaussians in time.

Axes are Frank's, in mV: x to the patient's left, y to the feet, z to the back. A disease adds to,
shrinks or replaces parts of a loop in proportion to its severity. A beat is a table of waves:
offset from the start of QRS (s, and share of QT), sd (s, and share of QT), x, y, z.
"""

import math
from random import Random

import numpy as np
from jaxtyping import Float

from einthoven.data.synthesis.anatomy import Build, Intervals
from einthoven.data.synthesis.cohort import Visit

Shares = Float[np.ndarray, "part 2"]  # place and sd of each part, as shares of the QRS duration
Vectors = Float[np.ndarray, "part 3"]
Table = Float[np.ndarray, "_ 7"]  # the waves of one beat: tables of several lengths meet in one call
Waves = Float[np.ndarray, "wave 5"]  # time (s), sd (s), x, y, z (mV) of the waves of a whole record

X, Y, Z = range(3)
SEPTAL, ANTERIOR, LATERAL, BASAL, TERMINAL = range(5)
QRS_SHARES = np.array([[0.20, 0.075], [0.35, 0.085], [0.51, 0.100], [0.69, 0.095], [0.85, 0.070]])
QRS = np.array(
    [
        [-0.13, -0.02, -0.26],
        [0.36, 0.26, -0.28],
        [1.02, 0.78, 0.46],
        [0.12, 0.15, 0.66],
        [-0.20, -0.14, 0.16],
    ]
)
# Left bundle branch block: no septal q, a slow way to the left and back, with a notch.
LEFT_SHARES = np.array([[0.16, 0.075], [0.37, 0.105], [0.62, 0.120], [0.84, 0.070]])
LEFT = np.array([[0.25, 0.14, 0.02], [0.85, 0.34, 0.80], [0.95, 0.18, 0.92], [0.30, -0.02, 0.32]])
# Right bundle branch block: the right ventricle comes last, to the right and front.
RIGHT_SHARES = np.array([[0.70, 0.085], [0.86, 0.070]])
RIGHT = np.array([[-0.42, -0.05, -0.40], [-0.30, 0.02, -0.55]])
ST, ST_LEFT = np.array([0.020, 0.012, -0.045]), np.array([-0.08, -0.03, -0.13])
T, T_LEFT = np.array([0.34, 0.20, -0.21]), np.array([-0.34, -0.10, -0.40])


def table_of(offset: np.ndarray, sd: np.ndarray, vectors: Vectors) -> Table:
    """Put waves that do not move with QT into a table."""
    still = np.zeros_like(offset)
    return np.column_stack([offset, still, sd, still, vectors])


def turn(frontal: float, horizontal: float) -> Float[np.ndarray, "3 3"]:
    """Return the matrix that turns row vectors from left to feet, then from left to back.

    >>> (np.array([1.0, 0.0, 0.0]) @ turn(np.pi / 2, 0.0)).round(3).tolist()
    [0.0, 1.0, 0.0]
    """
    c, s = math.cos(frontal), math.sin(frontal)
    k, d = math.cos(horizontal), math.sin(horizontal)
    return np.array([[c * k, s, c * d], [-s * k, c, -s * d], [-d, 0.0, k]])


def block_weight(severity: float) -> float:
    """Return how much of the loop a block has taken over: a mild one already shows.

    >>> [round(block_weight(severity), 2) for severity in (0.0, 0.3, 1.0)]
    [0.0, 0.67, 1.0]
    """
    return min(1.0, 0.4 + 0.9 * severity) if severity else 0.0


def atrial_table(visit: Visit, build: Build, times: Intervals) -> Table:
    """Right atrium, then left: the second half is what a high filling pressure swells and delays."""
    if visit.grade("AFIB"):
        return np.empty((0, 7))
    left = math.exp(0.30 * visit.filling + build.left_atrium + 0.35 * visit.grade("LVH"))
    vectors = np.array([[0.035, 0.095, -0.050], [0.055 * math.sqrt(left), 0.055, 0.050 * left]])
    offset = np.array([0.34, 0.66]) * times.p - times.pr
    return table_of(offset / 1000, np.array([0.155, 0.160]) * times.p / 1000, build.p_gain * vectors)


def narrow_loop(visit: Visit, build: Build) -> Vectors:
    """Return the five parts of a narrow QRS after infarction and hypertrophy have changed them."""
    anterior, inferior, thick = visit.grade("AMI"), visit.grade("IMI"), visit.grade("LVH")
    loop: Vectors = QRS + build.own
    # Dead muscle does not answer: the early forces point away from it.
    loop[SEPTAL, Z] += 0.62 * anterior
    loop[ANTERIOR, Z] += 0.62 * anterior
    loop[ANTERIOR, X] -= 0.22 * anterior
    loop[LATERAL, X] *= 1 - 0.15 * anterior
    loop[BASAL, Z] *= 1 - 0.35 * anterior
    loop[SEPTAL, Y] -= 0.44 * inferior
    loop[ANTERIOR, Y] -= 0.85 * inferior
    loop[LATERAL, Y] *= 1 - 0.45 * inferior
    # A thick left ventricle pulls the loop to its side and to the back.
    loop[LATERAL] *= 1 + thick * np.array([0.75, 0.10, 0.90])
    loop[BASAL, Z] *= 1 + 0.75 * thick
    return loop


def ventricular_table(visit: Visit, build: Build, times: Intervals) -> Table:
    """Return QRS: narrow, or with its end or its whole replaced by a bundle branch block."""
    left, right = block_weight(visit.grade("CLBBB")), block_weight(visit.grade("CRBBB"))
    narrow, wide = times.narrow / 1000, times.qrs / 1000
    shares, vectors = [narrow * QRS_SHARES], [(1 - left) * narrow_loop(visit, build)]
    if left:
        shares.append(wide * LEFT_SHARES)
        vectors.append(left * (1 + 0.3 * visit.grade("LVH")) * LEFT)
    if right:
        shares.append(wide * RIGHT_SHARES)
        vectors.append(right * RIGHT)
    place, sd = np.concatenate(shares).T
    loop = build.gain * np.concatenate(vectors) @ turn(build.frontal, build.horizontal)
    return table_of(place, sd, loop)


def recovery_table(visit: Visit, build: Build, times: Intervals) -> Table:
    """Return ST and T; both move with QT, so a fast heart recovers sooner."""
    left, right = block_weight(visit.grade("CLBBB")), block_weight(visit.grade("CRBBB"))
    st, t = recovery_vectors(visit, build)
    st, t = st + left * (ST_LEFT - st), t + left * (T_LEFT - t)
    t[Z] += 0.30 * right
    wide, gain = times.qrs / 1000, 0.5 + 0.5 * build.gain
    slow, fast = 0.50 * build.t_gain * gain * t, 0.62 * build.t_gain * gain * t
    return np.array(
        [
            [0.66 * wide, 0.27, -0.22 * wide, 0.165, *(gain * st)],
            [0.06 * wide, 0.72, 0.0, 0.105, *slow],
            [0.03 * wide, 0.81, 0.0, 0.070, *fast],
        ]
    )


def recovery_vectors(visit: Visit, build: Build) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Return the vectors of ST and T without a block, pushed by the diseases there are."""
    anterior, inferior = visit.grade("AMI"), visit.grade("IMI")
    ischaemia, vague = visit.grade("ISC_"), visit.grade("NST_")
    strain = visit.grade("LVH") * (0.2 + 0.8 * build.strain)
    towards = np.array([math.cos(build.territory), math.sin(build.territory), -0.25])

    t = (1 - 0.75 * vague) * T @ turn(build.t_frontal + 0.4 * build.frontal, build.t_horizontal)
    t[X] -= 0.24 * anterior + 0.62 * strain
    t[Y] -= 0.46 * inferior * (1 - 0.3 * build.fresh)
    t[Z] += 0.64 * anterior * (1 - 0.45 * build.fresh) - 0.08 * strain

    st = ST - (0.17 * ischaemia + 0.045 * vague) * towards
    st[X] -= 0.12 * strain
    st[Y] += 0.17 * inferior * build.fresh
    st[Z] -= 0.20 * anterior * build.fresh + 0.06 * strain
    return st, t - 0.32 * ischaemia * towards


def ectopic_table(build: Build) -> Table:
    """Return a beat from the ventricle: wide, tall, its T opposite to its QRS, no P."""
    way = build.ectopic
    waves = np.zeros((5, 7))
    waves[:, :4] = [
        [0.045, 0.00, 0.018, 0.00],
        [0.080, 0.00, 0.022, 0.00],
        [0.120, 0.00, 0.018, 0.00],
        [0.080, 0.30, 0.000, 0.14],
        [0.050, 0.76, 0.000, 0.10],
    ]
    waves[:, 4:] = [[0.5, 0.5, 0.1], [1.1, 1.0, 1.0], [0.3, 0.3, 0.6], [-0.1] * 3, [-0.42] * 3] * way
    return waves


def fibrillation_waves(seconds: float, rng: Random) -> Waves:
    """Return f waves: 5 to 8 a second, never twice alike, tallest in V1."""
    height, period = rng.uniform(0.025, 0.085), rng.uniform(0.13, 0.19)
    waves, now = [], -period
    while now < seconds + period:
        step = period * max(1 + 0.14 * rng.gauss(0, 1), 0.5)
        size = height * (1 + 0.40 * rng.gauss(0, 1))
        x, y, z = -0.45 * size, (0.45 + 0.20 * rng.gauss(0, 1)) * size, -0.80 * size
        waves += [(now, 0.22 * step, x, y, z), (now + 0.5 * step, 0.22 * step, -x, -y, -z)]
        now += step
    return np.array(waves)
