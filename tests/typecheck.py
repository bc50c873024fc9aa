"""The checker behind the shape hook: beartype, for which an int is a float, as Python's typing rules say."""

import ast

from beartype import BeartypeConf, beartype
from jaxtyping import _import_hook, install_import_hook

NUMBA = {"njit", "jit", "vectorize", "guvectorize"}

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
stays_unchecked = _import_hook._is_no_type_check


def is_kernel(decorator: ast.AST) -> bool:
    """Numba compiles the function it is given, and cannot compile a checking wrapper around it."""
    if isinstance(decorator, ast.Call):
        return is_kernel(decorator.func)
    name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
    return name in NUMBA or stays_unchecked(decorator)


def install() -> None:
    """Check every annotation of einthoven as it runs; must come before einthoven is imported."""
    _import_hook._is_no_type_check = is_kernel
    install_import_hook("einthoven", "typecheck.checked")
