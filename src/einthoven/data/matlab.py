"""Signals in a Matlab file beside a WFDB header: is the matrix the one that the header describes?

Level 4 of the format: five 32-bit numbers, the name, then the samples as WFDB's format 16 has them.
"""

import struct

from einthoven.data.wfdb16 import Header, refuse_text

HEAD = struct.Struct("<5i")  # type, rows, columns, imaginary part, length of the name
WHOLE = 30  # the type: little-endian, 16-bit whole numbers, a full matrix


def refuse_other_matrix(header: Header) -> None:
    """Refuse a `.mat` file whose matrix is not (lead, time) as the header of a plain record says.

    Signals in any other file pass. The matrix may hold fewer samples than it promises: whoever reads
    them finds out.
    """
    lead = header.leads[0]
    path = header.path.parent / lead.file
    if path.suffix != ".mat":
        return
    try:
        with path.open("rb") as file:
            start = file.read(128)
    except OSError as error:
        raise ValueError(f"{path}: cannot read the signals ({error.strerror}).") from error
    if start.startswith(b"MATLAB "):
        raise ValueError(f"{path}: a newer Matlab file; WFDB reads version 4 (save it with '-v4').")
    refuse_text(path, start)
    if len(start) < HEAD.size:
        raise ValueError(f"{path}: cut short, it holds {len(start)} bytes.")
    kind, rows, columns, imaginary, name = HEAD.unpack_from(start)
    if (kind, imaginary) != (WHOLE, 0):
        raise ValueError(f"{path}: does not begin with a matrix of 16-bit numbers in Matlab's version 4.")
    if lead.offset != HEAD.size + name:
        raise ValueError(
            f"{path}: its samples begin after {HEAD.size + name} bytes, its header says {lead.offset}."
        )
    leads, samples = len(header.leads), header.samples or columns
    if (rows, columns) != (leads, samples):
        raise ValueError(
            f"{path}: holds {rows:,} leads of {columns:,} samples, its header names {leads:,} of {samples:,}."
        )
