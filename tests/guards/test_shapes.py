"""The shape hook is on: a wrong shape is caught where it happens, and numba still compiles."""

import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from einthoven.ecg import Record

MODULE = """
import numpy as np
from jaxtyping import Float
from numba import njit


@njit
def total(x: np.ndarray) -> float:
    return x.sum()


def doubled(x: Float[np.ndarray, "lead time"]) -> Float[np.ndarray, "lead time"]:
    return 2 * x


def broken(x: Float[np.ndarray, "lead time"]) -> Float[np.ndarray, "lead time"]:
    return x.T
"""


def test_refuses_a_signal_with_one_axis() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Record("1", "1", np.zeros(1000, np.float32), ("I",), 100.0)


def test_takes_an_int_for_a_float() -> None:
    assert Record("1", "1", np.zeros((1, 1000), np.float32), ("I",), 100).hertz == 100


def test_checks_what_a_function_returns_and_leaves_kernels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooked.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with jaxtyping.install_import_hook("hooked", "typecheck.checked"):
        hooked = __import__("hooked")
    monkeypatch.delitem(sys.modules, "hooked")
    ecg = np.arange(6.0).reshape(2, 3)
    assert hooked.total(ecg) == 15
    assert hooked.doubled(ecg).sum() == 30
    with pytest.raises(jaxtyping.TypeCheckError):
        hooked.broken(ecg)
