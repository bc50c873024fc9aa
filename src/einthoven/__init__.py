"""Learn from 12-lead ECGs when labels are few.

import_(source, path, store)      files -> a store            open(store)          look at a store
train(recipe, store, run)         a recipe -> a run folder    predict(run, files)  answers for ECG files
fit(ecg, labels, hertz=...)       two arrays -> a model       embed(run, store)    one vector per ECG
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["embed", "fit", "import_", "open", "predict", "train"]


def __getattr__(name: str) -> Any:
    """Load what is asked for and no more: torch takes seconds, `einthoven --help` should not."""
    if name not in __all__:
        raise AttributeError(f"module 'einthoven' has no attribute {name!r}")
    globals()[name] = getattr(import_module("einthoven.python"), name)
    return globals()[name]
