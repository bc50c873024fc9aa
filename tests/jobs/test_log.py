"""The log: whole lines, taken up where a run goes on, told to whoever tracks."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from einthoven.log import Log, seconds_of, tracker


def test_lines_are_written_whole_and_taken_up(tmp_path: Path) -> None:
    log = Log(tmp_path, [])
    for step in (7, 14, 21):
        log.tell({"epoch": step / 7, "step": step, "loss": 1 / step, "seconds": 2.0, "loss/bce": 0.5})
    kept = pd.read_csv(tmp_path / "log.csv")
    assert kept["step"].tolist() == [7, 14, 21] and list(kept)[:4] == ["epoch", "step", "lr", "loss"]
    assert seconds_of(tmp_path) == 6.0
    again = Log(tmp_path, [])
    again.resume(14)
    again.tell({"epoch": 3.0, "step": 21, "loss": 0.1, "seconds": 5.0, "loss/bce": 0.5})
    kept = pd.read_csv(tmp_path / "log.csv")
    assert kept["step"].tolist() == [7, 14, 21] and kept["loss"].tolist()[1:] == [1 / 14, 0.1]


def test_trackers_hear_each_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            heard.append((name, value, step))

        def flush(self) -> None: ...

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    told: list[tuple[dict[str, float], int]] = []
    fake = SimpleNamespace(
        start_run=lambda run_name: told.append(({run_name: 0.0}, -1)),
        log_artifact=lambda path: told.append(({path: 0.0}, -1)),
        log_metrics=lambda line, step: told.append((line, step)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    log = Log(tmp_path, [tracker(name)(tmp_path) for name in ("tensorboard", "mlflow")])
    log.tell({"epoch": 1.0, "step": 3, "loss": 0.5, "seconds": 1.0, "loss/bce": 0.25})
    assert ("loss/bce", 0.25, 3) in heard
    assert told[-1] == ({"epoch": 1.0, "step": 3.0, "loss": 0.5, "seconds": 1.0, "loss.bce": 0.25}, 3)


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_extra_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install 'einthoven\[track\]'"):
        tracker(name)


def test_a_tracker_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tensorboard or mlflow, got 'wandb'"):
        tracker("wandb")
