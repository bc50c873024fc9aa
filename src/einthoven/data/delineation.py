"""QRS complexes as people marked them, wave by wave, in a WFDB annotation file: onset, peak, offset."""

import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from einthoven.data.convert import BROKEN, broken

ONSET, PEAK, OFFSET = "(", "N", ")"
END = b"\0\0"  # how an annotation file ends


class Complex(NamedTuple):
    """One marked QRS, in samples; None is not marked."""

    onset: int | None
    peak: int
    offset: int | None


def read_complexes(path: Path, samples: int | None = None) -> list[Complex]:
    """Read the QRS complexes of the annotation file `path`, of an ECG that is so many samples long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb's own, of pandas and of times that do not rise
        import wfdb

        try:
            found = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:])
        except OSError as error:
            raise ValueError(f"{path}: cannot read the annotations ({error.strerror or error}).") from error
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, *BROKEN) as error:
            raise ValueError(f"{path}: wfdb cannot read its annotations ({broken(error)}).") from error
    if path.read_bytes()[-2:] != END:
        raise ValueError(f"{path}: the annotations are cut short, their end is missing; copy the file again.")
    times, symbols = [int(time) for time in found.sample], list(found.symbol)
    if times != sorted(times) or (times and not 0 <= times[0] <= times[-1] < (samples or math.inf)):
        raise ValueError(f"{path}: damaged annotations, their times do not rise or leave the ECG.")
    if PEAK not in symbols:
        raise ValueError(f"{path}: damaged annotations, they mark no QRS; remove it, then none are known.")
    return list(complexes(times, symbols))


def complexes(times: list[int], symbols: list[str]) -> Iterator[Complex]:
    """Yield each peak with the onset and offset that stand right beside it.

    >>> list(complexes([5, 9, 14, 40, 48], ["(", "N", ")", "N", ")"]))
    [Complex(onset=5, peak=9, offset=14), Complex(onset=None, peak=40, offset=48)]
    """
    for at, symbol in enumerate(symbols):
        if symbol == PEAK:
            begins = at > 0 and symbols[at - 1] == ONSET
            ends = at + 1 < len(symbols) and symbols[at + 1] == OFFSET
            yield Complex(times[at - 1] if begins else None, times[at], times[at + 1] if ends else None)


def heart_rate(marked: list[Complex], hertz: float) -> float:
    """Return the rate (bpm) of the median gap between peaks; NaN for fewer than two.

    >>> heart_rate([Complex(None, peak, None) for peak in (100, 600, 1100, 1350)], 500.0)
    60.0
    """
    gaps = [after.peak - before.peak for before, after in pairwise(marked)]
    return 60 * hertz / median(gaps) if gaps and median(gaps) > 0 else math.nan


def qrs_ms(marked: list[Complex], hertz: float) -> float:
    """Return the median duration (ms) of the complexes that are marked from onset to offset, or NaN.

    >>> qrs_ms([Complex(0, 20, 45), Complex(None, 520, 540), Complex(1000, 1020, 1055)], 500.0)
    100.0
    """
    lasting = [one.offset - one.onset for one in marked if one.onset is not None and one.offset is not None]
    return 1000 * median(lasting) / hertz if lasting else math.nan
