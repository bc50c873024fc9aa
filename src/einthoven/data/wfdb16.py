"""Read plain WFDB records fast: the header, and 16-bit samples that lie in one file.

The format: https://physionet.org/physiotools/wag/header-5.htm. What is not plain is for the `wfdb` package.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16

from einthoven.data.signal import places

GAIN = 200.0  # adc units per millivolt where a header does not say
HERTZ = 250.0  # samples per second where a header does not say
MISSING = -32768  # what format 16 writes for a sample that was lost

_MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3}
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\(([-+]?\d+)\))?(?:/(\S+))?")
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n"


@dataclass(frozen=True, slots=True)
class Lead:
    """One signal line of a header; a sample is (stored - baseline) / gain, in `units`."""

    file: str
    format: int
    plain: bool  # one sample a frame, not skewed
    offset: int  # bytes before the first sample
    gain: float
    baseline: int
    units: str
    checksum: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a `.hea` file says of its record."""

    path: Path  # of the .hea file
    hertz: float
    samples: int | None  # None: as many as the file holds
    segments: int
    leads: tuple[Lead, ...]
    comments: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Can `read_plain` read it: 16-bit samples, one rate, one file?"""
        return self.segments == 1 and all(
            lead.plain and (lead.format, lead.file, lead.offset) == (16, first.file, first.offset)
            for first in self.leads[:1]
            for lead in self.leads
        )


def millivolts(unit: str) -> float | None:
    """Return how many millivolts one unit is, or None if it is no unit of voltage we know.

    >>> millivolts("uV"), millivolts("mmHg")
    (0.001, None)
    """
    return _MILLIVOLTS.get(unit.strip().lower())


def read_header(path: Path) -> Header:
    """Read the header `path` (with or without `.hea`)."""
    if path.suffix != ".hea":
        path = path.with_name(path.name + ".hea")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot read the header ({error.strerror}).") from error
    if b"\0" in raw:
        raise ValueError(f"{path}: not a WFDB header, it holds binary data.")
    text = [line.strip() for line in decoded(raw).splitlines()]
    lines = [line for line in text if line and line[0] != "#"]
    try:
        return parse_header(path, lines, [line[1:].strip() for line in text if line[:1] == "#"])
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: not a WFDB header ({error}).") from error


def decoded(raw: bytes) -> str:
    """Read text as UTF-8, or else as the Latin-1 of older devices."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def parse_header(path: Path, lines: Sequence[str], comments: Sequence[str]) -> Header:
    """Make sense of the record line and the signal lines."""
    if not lines:
        raise ValueError("it is empty")
    words = lines[0].split()
    segments = int(words[0].partition("/")[2] or 1)
    count = int(words[1])
    hertz = float(words[2].partition("/")[0]) if len(words) > 2 else HERTZ
    samples = int(words[3]) if len(words) > 3 else 0
    leads: list[Lead] = []
    if segments == 1:
        if not 0 < count <= len(lines) - 1:
            raise ValueError(f"the first line says {count} signals, the lines below are {len(lines) - 1}")
        leads = [parse_lead(line) for line in lines[1 : count + 1]]
    if hertz <= 0 or samples < 0:
        raise ValueError(f"{hertz:g} samples per second, {samples} samples")
    return Header(path, hertz, samples or None, segments, tuple(leads), tuple(comments))


def parse_lead(line: str) -> Lead:
    """Read one signal line: file, format, gain, resolution, ADC zero, first value, checksum, block, name."""
    words = line.split(None, 8)
    if words[0] == ".." or "/" in words[0] or "\\" in words[0]:
        raise ValueError(f"its signal file {words[0]!r} is not a name in its own folder")
    format_, plain, offset = parse_format(words[1])
    gain, baseline, units = parse_gain(words[2]) if len(words) > 2 else (GAIN, None, "mV")
    if baseline is None:
        baseline = int(words[4]) if len(words) > 4 else 0
    if abs(baseline) >= 2**31:
        raise ValueError(f"baseline {baseline:.3g}" if abs(baseline) < 10**300 else "an endless baseline")
    checksum = int(words[6]) if len(words) > 6 else None
    name = words[8].strip() if len(words) > 8 else ""
    return Lead(words[0], format_, plain, offset, gain, baseline, units, checksum, name)


@lru_cache
def parse_format(word: str) -> tuple[int, bool, int]:
    """Split `16x2:3+24` (format, samples per frame, skew, byte offset)."""
    if not (match := _FORMAT.fullmatch(word)):
        raise ValueError(f"signal format {word!r}")
    format_, frame, skew, offset = match.groups()
    return int(format_), (frame or "1", skew or "0") == ("1", "0"), int(offset or 0)


@lru_cache
def parse_gain(word: str) -> tuple[float, int | None, str]:
    """Split `1000.0(0)/mV` (gain, baseline, units)."""
    if not (match := _GAIN.fullmatch(word)):
        raise ValueError(f"gain {word!r}")
    gain, baseline, units = match.groups()
    return float(gain) or GAIN, None if baseline is None else int(baseline), units or "mV"


def read_plain(
    header: Header, *, verify: bool = False
) -> tuple[Float[np.ndarray, "lead time"], tuple[str, ...]]:
    """Read the ECG leads of a plain record: float32 mV, NaN where a sample was lost, and their names.

    `verify` also compares each lead with the checksum in the header.
    """
    leads = header.leads
    stored = read_samples(header)
    if verify:
        check_sums(header, stored)
    found = located(header)
    if list(found.values()) != list(range(len(leads))):
        leads = tuple(leads[place] for place in found.values())
        stored = stored[:, list(found.values())]
    scale = np.array([factor(header, lead) / lead.gain for lead in leads], np.float32)[:, None]
    ecg = stored.T.astype(np.float32, order="C")
    if any(lead.baseline for lead in leads):
        ecg -= np.array([lead.baseline for lead in leads], np.float32)[:, None]
    ecg *= scale
    if stored.min() == MISSING:
        ecg[stored.T == MISSING] = np.nan
    return ecg, tuple(found)


def located(header: Header) -> Mapping[str, int]:
    """Find the ECG leads of a record by name."""
    try:
        return places(tuple(lead.name for lead in header.leads))
    except ValueError as error:
        raise ValueError(f"{header.path}: {error}.") from error


def factor(header: Header, lead: Lead) -> float:
    """Return the millivolts of a lead's physical unit."""
    if (known := millivolts(lead.units)) is None:
        raise ValueError(
            f"{header.path}: lead {lead.name} is in {lead.units!r}, which is no unit of voltage."
        )
    return known


def read_samples(header: Header) -> Int16[np.ndarray, "time lead"]:
    """Read the stored samples of a plain record, or say what is wrong with the file."""
    first, count = header.leads[0], len(header.leads)
    path = header.path.parent / first.file
    try:
        size = path.stat().st_size  # whatever the header says, no more is asked for than is there
        offset = min(first.offset, size)
        held = (size - offset) // 2
        wanted = held if header.samples is None else header.samples * count
        stored = np.fromfile(path, "<i2", min(wanted, held), offset=offset)
    except OSError as error:
        raise ValueError(f"{path}: cannot read the signals ({error.strerror or error}).") from error
    refuse_text(path, stored[:128].tobytes())
    if stored.size < wanted:
        said = f"{stored.size // count:,} of the {header.samples:,}"
        raise ValueError(f"{path}: cut short, it holds {said} samples that its header names.")
    return stored[: stored.size // count * count].reshape(-1, count)


def refuse_text(path: Path, start: bytes) -> None:
    """Refuse a file of signals that begins like text: no 128 samples of an ECG are all letters."""
    if not start.translate(None, _PRINTABLE):
        raise ValueError(f"{path}: {'holds text, not samples' if start else 'is empty'}.")


def check_sums(header: Header, stored: Int16[np.ndarray, "time lead"]) -> None:
    """Compare the 16-bit sum of each lead with the header's."""
    sums = stored.sum(axis=0, dtype=np.int16)
    for lead, total in zip(header.leads, sums.tolist(), strict=True):
        if lead.checksum is not None and (lead.checksum - total) % 65536:
            found = f"the checksum of lead {lead.name} is {total}, not {lead.checksum}"
            raise ValueError(f"{header.path}: damaged samples, {found} (verify = false reads them still).")
