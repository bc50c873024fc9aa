"""Any folder of WFDB records, with what their headers say of the patient.

Plain 16-bit records take our fast reader, every other format the `wfdb` package.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from einthoven.data.comments import row_of
from einthoven.data.convert import BROKEN, broken
from einthoven.data.headers import Headers
from einthoven.data.matlab import refuse_other_matrix
from einthoven.data.wfdb16 import Header, factor, located, read_header, read_plain, refuse_text
from einthoven.ecg import Record

__all__ = ["WFDB"]

UNPACKED = 500  # formats below hold at least a byte a sample, those above are compressed

Signals = tuple[Float[np.ndarray, "lead time"], tuple[str, ...], float]


class WFDB(Headers):
    """Reads every record in or below `path`, or those that its RECORDS file lists, or one record.

    Comments of the header such as `# Age: 63`, `#Sex: Male`, `#Dx: 426783006` and the lines below
    `#<diagnoses>:` become `age`, `sex` and the task `statements`. A record whose header names no
    patient is its own patient. `verify` compares the samples with the header's checksums.
    """

    def __init__(self, path: Path, *, verify: bool = False):
        path = Path(path)
        self.verify = verify
        if path.is_dir():
            self.path = path
            self.records = tuple(dict.fromkeys(records_in(path, PurePosixPath())))
        else:
            self.path, self.records = path.parent, (one_record(path),)
        if not self.records:
            raise ValueError(f"{path} holds no WFDB record: there is no .hea file in it or below.")
        self.title = f"WFDB records of {path.resolve().name}"

    def read(self, index: int) -> Record:
        """Read one record: id is its name, or its path where two records share a name."""
        header = read_header(self.path / f"{self.records[index]}.hea")
        if header.segments > 1:
            raise ValueError(
                f"{header.path}: made of {header.segments} segments; these are records themselves."
            )
        if header.plain:
            refuse_other_matrix(header)
            ecg, leads = read_plain(header, verify=self.verify)
            hertz = header.hertz
        else:
            ecg, leads, hertz = read_any(header)
        record_id = self.record_id(index)
        patient, row = row_of(header.comments)
        return Record(record_id, patient or record_id, ecg, leads, hertz, row)


def one_record(path: Path) -> str:
    """Return the name of the record that `path` is: its header, its signals, or neither's suffix."""
    stem = path.with_suffix("") if path.suffix in (".hea", ".dat", ".mat") else path
    if not stem.with_name(f"{stem.name}.hea").is_file():
        raise ValueError(f"{path}: there is no folder of that name and no header {stem.name}.hea.")
    return stem.name


def records_in(root: Path, folder: PurePosixPath) -> Iterator[str]:
    """List the records of a folder: those of its RECORDS file, or else every header in or below."""
    listing = root / folder / "RECORDS"
    if not listing.is_file():
        headers = (path.relative_to(root).with_suffix("") for path in (root / folder).rglob("*.hea"))
        yield from sorted(header.as_posix() for header in headers)
        return
    for line in listing.read_text("utf-8", "replace").split():
        inner = folder / line
        if ".." in inner.parts or inner.is_absolute():
            raise ValueError(f"{listing}: {line!r} leads out of the folder.")
        if line.endswith("/"):
            yield from records_in(root, inner)
        else:
            yield inner.as_posix()


def read_any(header: Header) -> Signals:
    """Read the ECG leads of a record in any format, by the `wfdb` package."""
    found = located(header)
    for file, format_ in {(header.leads[place].file, header.leads[place].format) for place in found.values()}:
        path = header.path.parent / file
        least = 0 if header.samples is None else header.samples * (format_ < UNPACKED)
        try:
            if path.stat().st_size < least:
                raise ValueError(f"{path}: cut short, its header names {least:,} samples.")
            with path.open("rb") as opened:
                refuse_text(path, opened.read(256))
        except OSError as error:
            raise ValueError(f"{path}: cannot read the signals ({error.strerror}).") from error
    try:
        record = package().rdrecord(
            str(header.path.with_suffix("")), channels=list(found.values()), smooth_frames=False
        )
    except (OSError, ValueError, IndexError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{header.path}: wfdb cannot read its signals ({reason}).") from error
    except BROKEN as error:
        raise ValueError(f"{header.path}: wfdb cannot read its signals ({broken(error)}).") from error
    rates = {frame * record.fs for frame in record.samps_per_frame}
    if len(rates) > 1:
        listed = ", ".join(f"{rate:g}" for rate in sorted(rates))
        raise ValueError(f"{header.path}: its leads have different rates ({listed} Hz).")
    scale = [factor(header, header.leads[place]) for place in found.values()]
    ecg = np.stack([x * k for x, k in zip(record.e_p_signal, scale, strict=True)]).astype(np.float32)
    return ecg, tuple(found), float(rates.pop())


def package() -> Any:
    """Import `wfdb` without the deprecation warnings of pandas that only its authors can mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb
    return wfdb
