"""Any supported ECG file or folder as a source, found by what it looks like."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from einthoven.ecg import Record, Source
from einthoven.parts import find, hint, signature

ENDINGS = {
    ".hea": "wfdb",
    ".dat": "wfdb",
    ".mat": "wfdb",
    ".csv": "csv",
    ".npy": "numpy",
    ".npz": "numpy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}


def make_source(name: str, path: Path | None, options: Mapping[str, Any]) -> Source:
    """Build a source by name; options are those after the star of its constructor."""
    part = find("sources", name)
    known = signature(part)[1]
    for key in options:
        if key not in known:
            raise ValueError(
                f"Source {name!r} has no option {key!r}. "
                f"Known: {', '.join(known) or 'none'}.{hint(key, known)}"
            )
    try:
        source: Source = part(path, **options)
    except TypeError as wrong:
        needed = [k for k, p in known.items() if p.default is p.empty and k not in options]
        remedy = f" Say --set {needed[0]}=..." if needed else ""
        raise ValueError(f"Source {name!r}: {wrong}.{remedy}") from wrong
    return source


def source_at(path: Path) -> str:
    """Name the source that reads a file or folder."""
    if not path.exists() and not path.with_suffix(".hea").exists():
        raise ValueError(f"{path} does not exist.")
    if path.is_dir():
        if (path / "ptbxl_database.csv").is_file():
            return "ptbxl"
        if (path / "ludb.csv").is_file():
            return "ludb"
        found = [ENDINGS[f.suffix.lower()] for f in sorted(path.iterdir()) if f.suffix.lower() in ENDINGS]
        return found[0] if found else "wfdb"
    if path.suffix.lower() in ENDINGS:
        return ENDINGS[path.suffix.lower()]
    if path.with_suffix(".hea").is_file():
        return "wfdb"
    raise ValueError(
        f"{path} is no ECG file that einthoven reads; it reads {', '.join(ENDINGS)} and folders."
    )


def read_files(paths: list[Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield every ECG of some files, one at a time, or refuse with the file's name and the reason."""
    for path in paths:
        source = make_source(source_at(path), path, options)
        for index in range(len(source)):
            yield source.read(index)  # a reason to refuse names the file
