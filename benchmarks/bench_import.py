"""How many times faster than a plain `wfdb.rdsamp` loop an import is, and the memory of all its processes.

python benchmarks/bench_import.py DATA     (a folder in PTB-XL's layout, records100)
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

WORKERS, FASTER, MEMORY = 2, 8, 600
IMPORT = """
import sys
from pathlib import Path
from einthoven import parts
from einthoven.data.importing import import_
source = parts.find("sources", "ptbxl")(Path(sys.argv[1]))
print(len(import_(source, Path(sys.argv[2]), workers=int(sys.argv[3]))))
"""


def wfdb_rate(path: Path) -> float:
    """Return records/s of the plain loop."""
    import wfdb

    files = sorted((path / "records100").rglob("*.hea"))
    began = time.perf_counter()
    for file in files:
        wfdb.rdsamp(str(file.with_suffix("")))
    return len(files) / (time.perf_counter() - began)


def start(path: Path, store: Path) -> subprocess.Popen[str]:
    """Start an import as a new program: loading Python and the package counts as part of it."""
    command = [sys.executable, "-c", IMPORT, str(path), str(store), str(WORKERS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def import_rate(path: Path, store: Path) -> float:
    """Return records/s from starting the program to its end."""
    began = time.perf_counter()
    records = start(path, store).communicate()[0]
    return int(records) / (time.perf_counter() - began)


def peak(path: Path, store: Path) -> float:
    """Return the most memory (MB) that all its processes held together; shared pages count once."""
    top, program = 0, start(path, store)
    root = psutil.Process(program.pid)
    while program.poll() is None:
        total = 0
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:  # it has just ended
                continue
        top = max(top, total)
        time.sleep(0.02)
    program.communicate()
    return top / 1e6


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = wfdb_rate(path)
        rates = sorted(import_rate(path, Path(folder) / f"store{n}") for n in range(3))
        print(f"wfdb.rdsamp loop: {plain:,.0f} records/s")
        print(f"import, {WORKERS} workers: {rates[1]:,.0f} records/s (median of 3; best {rates[-1]:,.0f})")
        print(f"ratio: {rates[1] / plain:.1f} (best {rates[-1] / plain:.1f}, bar {FASTER})")
        print(f"peak memory: {peak(path, Path(folder) / 'watched'):,.0f} MB (bar {MEMORY})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
