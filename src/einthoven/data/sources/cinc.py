"""The eight sets of the PhysioNet/CinC challenges of 2020 and 2021, among them CPSC 2018 (ICBEB).

Perez Alday et al. 2020, doi:10.1088/1361-6579/abc960; Reyna et al. 2022, doi:10.1088/1361-6579/ac79fd.
"""

import re
from pathlib import Path

from einthoven.data.comments import row_of
from einthoven.data.headers import Headers
from einthoven.data.matlab import refuse_other_matrix
from einthoven.data.snomed import tasks
from einthoven.data.wfdb16 import Header, read_header, read_plain
from einthoven.ecg import Record

__all__ = ["CinC"]

CODE = re.compile(r"\b\d{6,18}\b")  # SNOMED CT: whatever else stands below an empty Dx is no statement


class CinC(Headers):
    """Reads every header in or below `path`, with the Matlab file of the same name beside it.

    Tasks: `snomed` (every code; those that no challenge scores as their numbers), `scored` (the 26
    classes of 2021, equivalent codes as one) and `cpsc2018` (its nine classes). The headers name no
    patient: each record is its own. `verify` compares the samples with the header's checksums.
    """

    def __init__(self, path: Path, *, verify: bool = True):
        self.path, self.verify = Path(path), verify
        if not self.path.is_dir():
            raise ValueError(
                f"{path} is no folder: name the one that holds the challenge's .hea and .mat files."
            )
        found = {file for suffix in ("hea", "mat") for file in self.path.rglob(f"*.{suffix}")}
        if not any(file.suffix == ".hea" for file in found):
            raise ValueError(f"{path} holds no record of a challenge: there is no .hea file in it or below.")
        self.records = tuple(sorted({f.relative_to(self.path).with_suffix("").as_posix() for f in found}))
        self.title = f"PhysioNet/CinC challenge records of {self.path.resolve().name}"

    def read(self, index: int) -> Record:
        """Read one record: id is its name, or its path where two records share a name."""
        header = read_header(self.path / f"{self.records[index]}.hea")
        refuse_other_form(header)
        ecg, leads = read_plain(header, verify=self.verify)
        record_id = self.record_id(index)
        patient, row = row_of(header.comments)
        codes = sorted({code for text in row.pop("statements") for code in CODE.findall(text)})
        return Record(record_id, patient or record_id, ecg, leads, header.hertz, row | tasks(codes))


def refuse_other_form(header: Header) -> None:
    """Refuse a record whose samples lie in another kind of file."""
    if not header.plain or Path(header.leads[0].file).suffix != ".mat":
        raise ValueError(
            f"{header.path}: not in the challenges' form (16-bit samples in one .mat file); try wfdb."
        )
    refuse_other_matrix(header)
