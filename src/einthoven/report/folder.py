"""Read a finished run folder: what was trained, on what, and how well it did."""

import json
import math
import tokenize
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


class Figure(NamedTuple):
    """A number with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Is there a number?"""
        return math.isfinite(self.value)


NOTHING = Figure(math.nan, math.nan, math.nan)


def figure(table: object) -> Figure:
    """Read {value, low, high} as results.json has it; null and whatever is missing become NaN."""
    if not isinstance(table, Mapping):
        return NOTHING
    parts = (table.get(key) for key in Figure._fields)
    return Figure(*(math.nan if part is None else float(part) for part in parts))


@dataclass(frozen=True)
class Run:
    """A run folder in memory."""

    path: Path
    recipe: str
    environment: dict[str, Any]
    results: dict[str, Any]
    log: "pd.DataFrame"
    test: "pd.DataFrame"  # the lines of predictions.parquet whose split is test
    examples: Float[np.ndarray, "example lead time"]
    drawn: Float[np.ndarray, "drawing lead time"]  # what a network drew of them; NaN where nothing

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the task."""
        return [str(label) for label in self.results["task"]["labels"]]

    @property
    def regression(self) -> bool:
        """Is a number predicted, not a label?"""
        return bool(self.results["task"]["kind"] == "regression")

    @property
    def unlabelled(self) -> bool:
        """Did it learn from ECGs alone? Then it answers nothing, and nothing was judged."""
        return bool(self.results["task"]["kind"] == "unlabelled")

    @property
    def main(self) -> str:
        """The figure that the run is judged by."""
        return "rmse" if self.regression else "auroc"

    @property
    def store(self) -> dict[str, Any]:
        """What environment.json says about the store."""
        return dict(self.environment.get("store", {}))

    @property
    def patients_named(self) -> bool:
        """Did the data say whose each ECG is? If not, each counts as a patient of its own."""
        return bool(self.store.get("patients_named", True))

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took, as far as the run says."""
        noted = [told.get("seconds") for told in (self.environment, self.results)]
        return {k: float(v) for table in noted if isinstance(table, dict) for k, v in table.items()}

    @property
    def options(self) -> dict[str, Any]:
        """The recipe as tables."""
        return tomllib.loads(self.recipe)

    @cached_property
    def truth(self) -> Float[np.ndarray, "record label"]:
        """What is so, of the test records."""
        return self._columns("truth")

    @cached_property
    def score(self) -> Float[np.ndarray, "record label"]:
        """What the network said: probabilities, or the column's unit."""
        return self._columns("score")

    @property
    def positive(self) -> Bool[np.ndarray, "record label"]:
        """Which test records carry which label."""
        return self.truth > 0.5

    def _columns(self, which: str) -> Float[np.ndarray, "record label"]:
        return self.test[[f"{which}/{label}" for label in self.labels]].to_numpy(np.float64)

    def overall(self, metric: str, *, split: str = "test") -> Figure:
        """Return a figure over all labels: the macro mean, or the figure itself where there is no macro."""
        table = self.results.get(split, {}).get(metric, {})
        return figure(table.get("macro", table))

    def of_label(self, metric: str, label: str) -> Figure:
        """Return a label's own figure on the test set."""
        return figure(self.results["test"].get(metric, {}).get("per_label", {}).get(label))

    def threshold(self, label: str) -> float:
        """Return the label's threshold, chosen on the validation set; NaN if there is none."""
        value = self.results.get("thresholds", {}).get(label)
        return math.nan if value is None else float(value)


def read_run(path: Path) -> Run:
    """Read a run folder, or raise ValueError with the line that tells the user what is missing."""
    import pandas as pd

    if not path.is_dir():
        raise ValueError(f"{path} is not a run folder; `einthoven train RECIPE --out {path}` makes one.")
    if not (path / "results.json").exists():
        raise ValueError(
            f"{path} has no results.json: training has not finished; resume with "
            f"`einthoven train {path / 'recipe.toml'} --data STORE --out {path} --resume`."
        )
    results = _json(path / "results.json")
    if results.get("format") != FORMAT:
        raise ValueError(
            f"{path / 'results.json'} has format {results.get('format')}, this einthoven reads {FORMAT}: "
            "use the version that trained the run."
        )
    answered = results["task"]["kind"] != "unlabelled"
    predictions = (
        pd.read_parquet(_whole(path / "predictions.parquet")) if answered else pd.DataFrame({"split": []})
    )
    examples, drawn = _ecgs_of(path, results)
    run = Run(
        path=path,
        recipe=_whole(path / "recipe.toml").read_text(encoding="utf-8"),
        environment=_json(_whole(path / "environment.json")),
        results=results,
        log=_log(path / "log.csv"),
        test=predictions[predictions["split"] == "test"].reset_index(drop=True),
        examples=examples,
        drawn=drawn,
    )
    for column in (f"{which}/{label}" for label in run.labels for which in ("truth", "score")):
        if column not in predictions:
            raise ValueError(
                f"{path / 'predictions.parquet'} has no column {column!r}: evaluate the run again."
            )
    return run


def _whole(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"{path.parent} has no {path.name}, which every finished run has: train it again.")
    return path


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as broken:
        raise ValueError(f"{path} is not valid JSON ({broken}): restore it or train again.") from broken


def _log(path: Path) -> "pd.DataFrame":
    """Read the log; a run that only evaluates has none."""
    import pandas as pd

    if not path.exists() or not path.stat().st_size:
        return pd.DataFrame()
    return pd.read_csv(path)


def _ecgs_of(path: Path, results: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Read the ECGs to show and, of equal shape, what a network drew of them: none where it draws none."""
    drawings = results.get("drawn", [])
    examples = _ecgs(path / "examples.npy", wanted=len(results.get("examples") or drawings))
    if not drawings:
        return examples, examples[:0]
    drawn = _ecgs(path / "drawn.npy", wanted=len(drawings))
    if drawn.shape != examples.shape:
        raise ValueError(f"{path / 'drawn.npy'} does not fit examples.npy: train the run again.")
    return examples, drawn


def _ecgs(path: Path, *, wanted: int) -> Float[np.ndarray, "example lead time"]:
    if not wanted:
        return np.empty((0, 12, 0), dtype=np.float32)
    _whole(path)
    try:
        with open(path, "rb") as file:
            signals: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, tokenize.TokenError) as broken:
        raise ValueError(f"{path} cannot be read: restore it or train again.") from broken
    if signals.ndim != 3 or signals.dtype.kind != "f":
        raise ValueError(f"{path} holds no ECGs (example, lead, time): restore it or train again.")
    if len(signals) < wanted:
        raise ValueError(
            f"{path} has {len(signals)} ECGs, results.json lists {wanted}: evaluate the run again."
        )
    return signals
