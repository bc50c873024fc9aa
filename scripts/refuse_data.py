"""Refuse what must never enter git: ECGs, patient tables, weights, private keys, large files.

python scripts/refuse_data.py            checks every file that git tracks
python scripts/refuse_data.py FILE ...   checks these: the pre-commit hook
"""

import re
import subprocess
import sys
from pathlib import Path

ALLOWED = "tests/golden/"  # small arrays that published code gave, each with the command that made it
PAGES = {"src/einthoven/report/page.html"}  # the template; a filled one shows ECGs of patients
SIGNALS = {
    *(".hea", ".dat", ".atr", ".edf", ".bdf", ".xml", ".scp", ".dcm", ".mat"),
    *(".npy", ".npz", ".h5", ".hdf5"),
}
TABLES = {".csv", ".tsv", ".parquet", ".feather", ".xls", ".xlsx", ".sqlite", ".db"}
WEIGHTS = {".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".pkl", ".pickle", ".joblib"}
ARCHIVES = {".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar"}
KINDS = {
    "a signal": SIGNALS,
    "a table": TABLES,
    "weights": WEIGHTS,
    "a page": {".html", ".htm"},
    "an archive": ARCHIVES,
}
LARGEST = 500_000  # bytes
KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def reason(path: Path) -> str | None:
    """Say why a file may not be committed, or None."""
    allowed = path.as_posix().startswith(ALLOWED) or path.as_posix() in PAGES
    for what, endings in KINDS.items():
        if path.suffix.lower() in endings and not allowed:
            return f"{what} ({path.suffix})"
    if path.is_symlink() or not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        return f"{path.stat().st_size / 1e3:.0f} kB; the largest allowed is {LARGEST / 1e3:.0f} kB"
    return "a private key" if KEY.search(path.read_bytes()) else None


def tracked() -> list[Path]:
    """List what git tracks, and what a commit of everything would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [Path(name) for name in sorted(set(listed.stdout.split("\0"))) if name]


def main(names: list[str]) -> int:
    """Print one line for each file refused; 1 if there is any."""
    found = {path: reason(path) for path in ([Path(name) for name in names] or tracked())}
    refused = {path: why for path, why in found.items() if why}
    for path, why in refused.items():
        print(f"{path} must not enter git: {why}.", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
