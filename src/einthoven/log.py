"""What a run tells while it learns: `log.csv` always; TensorBoard or MLflow through the extra `track`."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from einthoven.data.files import write_text

Tell = Callable[[Mapping[str, float], int], None]  # takes a line of the log and its step
FIRST = ("epoch", "step", "lr", "loss", "validation_loss", "validation_auroc")
CLOCK = ("seconds", "records_per_second", "waiting")  # all that differs between two runs of one seed


class Log:
    """The lines of `log.csv`, rewritten whole at each one, so that a kill never leaves half a line."""

    def __init__(self, run: Path, trackers: list[Tell]):
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
        names = list(FIRST + CLOCK)
        names += sorted({name for each in self.lines for name in each} - set(names))
        text = io.StringIO()
        table = csv.DictWriter(text, names, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.lines)
        write_text(self.file, text.getvalue())
        for tracker in self.trackers:
            tracker(line, int(line["step"]))


def latest(run: Path) -> dict[str, float]:
    """Return the latest value of each column of the log."""
    with open(run / "log.csv", encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        return {name: float(value) for line in lines for name, value in line.items() if value}


def seconds_of(run: Path) -> float:
    """Return how long a run has learned, over all its starts, validation left out."""
    with open(run / "log.csv", encoding="utf-8", newline="") as file:
        return round(sum(float(line["seconds"]) for line in csv.DictReader(file)), 1)


def tensorboard() -> Callable[[Path], Tell]:
    """Write events for TensorBoard beside the log."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as missing:
        raise ValueError("--track tensorboard needs: pip install 'einthoven[track]'") from missing

    def start(run: Path) -> Tell:
        writer = SummaryWriter(str(run / "tensorboard"))

        def tell(line: Mapping[str, float], step: int) -> None:
            for name, value in line.items():
                writer.add_scalar(name, float(value), step)
            writer.flush()

        return tell

    return start


def mlflow() -> Callable[[Path], Tell]:
    """Log to the MLflow tracking store that the environment names (a local folder by default)."""
    try:
        import mlflow as tracking
    except ImportError as missing:
        raise ValueError("--track mlflow needs: pip install 'einthoven[track]'") from missing

    def start(run: Path) -> Tell:
        tracking.start_run(run_name=run.name)
        tracking.log_artifact(str(run / "recipe.toml"))
        return lambda line, step: tracking.log_metrics(
            {name.replace("/", "."): float(value) for name, value in line.items()}, step=step
        )

    return start


TRACKERS: dict[str, Callable[[], Callable[[Path], Tell]]] = {"tensorboard": tensorboard, "mlflow": mlflow}


def tracker(name: str) -> Callable[[Path], Tell]:
    """Find a tracker by name; what it returns starts on a run folder."""
    if name not in TRACKERS:
        raise ValueError(f"--track takes {' or '.join(TRACKERS)}, got {name!r}.")
    return TRACKERS[name]()
