"""What must start quickly starts without what is slow to load."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "numba", "scipy", "wfdb", "h5py", "pyarrow")


def loaded_after(statement: str) -> set[str]:
    """Run a statement in a fresh Python and return which heavy packages it left in memory."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")[-2].split())


def test_help_loads_nothing_heavy() -> None:
    assert loaded_after("import einthoven.cli") == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import einthoven") == set()


def test_every_public_name_is_there_without_being_imported_first() -> None:
    assert "torch" in loaded_after(
        "import einthoven\nfor name in einthoven.__all__: getattr(einthoven, name)"
    )


@pytest.mark.parametrize(
    "module",
    ["ecg", "parts", "evaluate", "report", "data.store", "data.importing", "data.signal", "data.sources"],
)
def test_data_scores_and_reports_need_no_torch(module: str) -> None:
    assert "torch" not in loaded_after(f"import einthoven.{module}")


def test_no_source_and_no_score_needs_torch() -> None:
    walk = (
        "import pkgutil, importlib\n"
        "for folder in ('data.sources', 'evaluate', 'report'):\n"
        "    package = importlib.import_module(f'einthoven.{folder}')\n"
        "    for m in pkgutil.iter_modules(package.__path__):\n"
        "        if m.name != 'embed': importlib.import_module(f'{package.__name__}.{m.name}')"
    )
    assert "torch" not in loaded_after(walk)
