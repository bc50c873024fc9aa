"""What a run tells while it learns: `log.csv` always; TensorBoard or MLflow through the extra `track`."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from einthoven.data.files import write_text

FIRST = (
    "epoch",
    "step",
    "lr",
    "loss",
    "records_per_second",
    "waiting",
    "validation_loss",
    "validation_auroc",
)


class Tracker(Protocol):
    """Somebody who wants to know each line."""

    def tell(self, line: Mapping[str, float], step: int) -> None:
        """Take in one line of the log."""


class Log:
    """The lines of `log.csv`, rewritten whole at each one, so that a kill never leaves half a line."""

    def __init__(self, run: Path, trackers: list[Tracker]):
        self.file, self.trackers = run / "log.csv", trackers
        self.lines: list[dict[str, Any]] = []

    def resume(self, step: int) -> None:
        """Take up the lines until a step; what came after it is learned again."""
        if self.file.exists():
            with open(self.file, encoding="utf-8", newline="") as file:
                self.lines = [line for line in csv.DictReader(file) if int(line["step"]) <= step]

    def tell(self, line: Mapping[str, float]) -> None:
        """Add one line."""
        self.lines.append(dict(line))
        names = list(FIRST) + sorted({n for each in self.lines for n in each} - set(FIRST))
        text = io.StringIO()
        table = csv.DictWriter(text, names, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.lines)
        write_text(self.file, text.getvalue())
        for tracker in self.trackers:
            tracker.tell(line, int(line["step"]))


class TensorBoard:
    """Writes events for TensorBoard beside the log."""

    def __init__(self, run: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as missing:
            raise ValueError("--track tensorboard needs: pip install 'einthoven[track]'") from missing
        self.writer = SummaryWriter(str(run / "tensorboard"))

    def tell(self, line: Mapping[str, float], step: int) -> None:
        """Write one line."""
        for name, value in line.items():
            self.writer.add_scalar(name, float(value), step)
        self.writer.flush()


class MLflow:
    """Logs to the MLflow tracking store that its environment names (a local folder by default)."""

    def __init__(self, run: Path):
        try:
            import mlflow
        except ImportError as missing:
            raise ValueError("--track mlflow needs: pip install 'einthoven[track]'") from missing
        self.mlflow = mlflow
        mlflow.start_run(run_name=run.name)
        mlflow.log_artifact(str(run / "recipe.toml"))

    def tell(self, line: Mapping[str, float], step: int) -> None:
        """Log one line."""
        self.mlflow.log_metrics({k.replace("/", "."): float(v) for k, v in line.items()}, step=step)


TRACKERS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


def tracker(name: str, run: Path) -> Tracker:
    """Make a tracker by name."""
    if name not in TRACKERS:
        raise ValueError(f"--track takes {' or '.join(TRACKERS)}, got {name!r}.")
    return TRACKERS[name](run)
