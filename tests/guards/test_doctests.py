"""Every worked example in a docstring gives what it says."""

import re
import subprocess
import sys
from pathlib import Path

# In a Python of its own: the shape hook wraps functions, and doctest then takes them for somebody else's.
RUN = """
import doctest, importlib, pkgutil, einthoven
tried = failed = 0
for module in pkgutil.walk_packages(einthoven.__path__, "einthoven."):
    if module.name.endswith("__main__"):  # to import it is to run it
        continue
    result = doctest.testmod(importlib.import_module(module.name))
    tried, failed = tried + result.attempted, failed + result.failed
print(tried, "tried", failed, "failed")
"""


def test_the_examples_in_docstrings_are_true(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tried, failed = map(int, re.findall(r"(\d+) (?:tried|failed)", done.stdout.splitlines()[-1]))
    assert failed == 0, done.stdout
    written = sum(path.read_text().count(">>> ") for path in (root / "src").rglob("*.py"))
    assert tried == written
