"""A finished run and any ECGs: what the model says of them, with the preprocessing saved in the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from einthoven import recipe as recipes
from einthoven.assemble import best_device, network
from einthoven.checkpoint import load_weights
from einthoven.data.files import read_json
from einthoven.data.loader import Progress, Reader, Windows, counted, unheard
from einthoven.data.opening import read_files
from einthoven.data.signal import prepare
from einthoven.data.store import Store
from einthoven.data.task import UNLABELLED, Task
from einthoven.ecg import LEADS, Record, Signal
from einthoven.evaluate.embed import evaluating, features, numbers, pooled
from einthoven.language.normalise import normalise
from einthoven.language.views import seen
from einthoven.parts import call
from einthoven.plan import Crop, usual_pool
from einthoven.policy import Policy, policy_of
from einthoven.results import read_results
from einthoven.types import Batch, Method


@dataclass(frozen=True)
class Model:
    """A trained method with all that it needs to answer: signal, task, windows, thresholds.

    `longest` is how much of an ECG (s) it was judged on: it reads no more of a longer one.
    """

    run: Path
    method: Method
    wants: Signal
    task: Task
    crop: Crop
    thresholds: Mapping[str, float]  # chosen on validation
    longest: float
    policy: Policy | None = None  # of a run that fuses: what of a text it was shown

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of an answer mean."""
        return self.task.labels

    @property
    def stride(self) -> float:
        """Seconds between windows."""
        return self.crop.stride or self.wants.seconds / 2

    def predict(
        self, ecg: Float[np.ndarray, "record lead time"], *, hertz: float, leads: Sequence[str] = LEADS
    ) -> Float[np.ndarray, "record label"]:
        """Answer for ECGs in mV at any rate: probabilities, or values in the unit of the column."""
        named = (
            Record(str(i), str(i), np.asarray(x, np.float32), tuple(leads), hertz) for i, x in enumerate(ecg)
        )
        return np.stack([self.answer(record) for record in named])

    def answer(self, record: Record, text: str = "") -> Float[np.ndarray, " label"]:
        """Answer for one ECG: pooled over windows after the link, as the run was judged.

        With a text, from both, if the run fuses them: it is shown as its [text] view shows a report, or for
        view "context" as it stands ("63 years old, female").
        """
        if not self.labels:
            raise ValueError(f"{self.run} learned features alone: it predicts nothing, but `embed` reads it.")
        which = "fused/logits" if text else "logits"
        scores = self.task.answer(self.outputs(record, which, self.shown(text)))
        how = self.crop.pool or usual_pool(self.task)
        return np.asarray(pooled([(np.zeros(len(scores), dtype=np.int64), scores)], 1, how)[0])

    def shown(self, text: str) -> str:
        """Return what the run may see of a text."""
        if not text:
            return ""
        if self.policy is None:
            raise ValueError(f"{self.run} reads ECGs alone: leave the text out.")
        said, view = normalise(text), self.policy.view or "none"
        if view != "context":
            (said,) = seen(pd.DataFrame({"report": [text]}), view, self.policy.hidden)
        if not said:
            raise ValueError(f"[text] view = {view!r} of {self.run} leaves nothing of this text.")
        return said

    def outputs(self, record: Record, name: str, text: str = "") -> Float[np.ndarray, "window value"]:
        """Return a named output for each window of one ECG."""
        signal, absent = prepare(record, self.wants)
        samples, hop = self.wants.samples, max(1, round(self.stride * self.wants.hertz))
        last = max(min(signal.shape[1], round(self.longest * self.wants.hertz)) - samples, 0)
        cut = np.stack([signal[:, s : s + samples] for s in sorted({*range(0, last + 1, hop), last})])
        nobody = torch.zeros(len(cut), dtype=torch.long)
        places = [-1 if lead in absent else LEADS.index(lead) for lead in self.wants.leads]
        leads = torch.tensor(places).expand(len(cut), -1) if absent else None
        texts = (text,) * len(cut) if text else None
        batch = Batch(ecg=torch.from_numpy(cut), row=nobody, patient=nobody, leads=leads, text=texts)
        return numbers(evaluating(self.method, "fp32")(batch)[name])


def load(run: Path, device: str | None = None, *, trust: bool = False) -> Model:
    """Load a finished run. Nothing in it is executed, unless `trust` lets it name parts of other modules."""
    file = run / "recipe.toml"
    if not file.is_file():
        raise ValueError(f"{run} is no run folder: it has no recipe.toml.")
    thresholds = read_results(run)["thresholds"]
    told = recipes.load(file)
    if (others := recipes.outside(told)) and not trust:
        raise ValueError(
            f"{file} names {', '.join(others)}, code outside einthoven: "
            "say --trust (trust=True) if it is yours."
        )
    wants: Signal = call(Signal, told.get("signal", {}), where="signal")
    task: Task = call(Task, told["task"], where="task") if "task" in told else UNLABELLED
    method, _ = network(recipes.fresh(told), wants, len(task.labels), told.get("seed", 0))
    load_weights(method, run / "weights.safetensors")
    method.to(device or best_device()).eval()
    crop: Crop = call(Crop, told.get("crop", {}), where="crop")
    lasted = read_json(run / "environment.json", "store", "seconds")
    policy = policy_of(told) if "fusion" in told else None
    return Model(run, method, wants, task, crop, thresholds, float(lasted), policy)


def predict(
    run: Path,
    files: Sequence[Path],
    options: Mapping[str, Any] | None = None,
    *,
    text: str = "",
    trust: bool = False,
    progress: Progress = unheard,
) -> pd.DataFrame:
    """Answer for every ECG in some files: one line per ECG, one column per label.

    `options` are the source's own (the rate and units of a CSV file, say). `text` is read beside each ECG by
    a run that fuses both; without, it answers from the ECG alone.
    """
    model = load(run, trust=trust)
    lines = []
    for record in read_files(list(files), options or {}):
        said = dict(zip(model.labels, model.answer(record, text).tolist(), strict=True))
        lines.append({"record_id": record.record_id} | said)
        progress(len(lines), 0)  # nobody knows how many the files hold
    return pd.DataFrame(lines, columns=["record_id", *model.labels])


def embed(
    run: Path, store: Store, *, which: str = "features", trust: bool = False, progress: Progress = unheard
) -> pd.DataFrame:
    """Return one vector per record that the model can read (columns 0, 1 ...), with record and patient ids.

    Records that are too short, or lack a lead that the model needs, have none.
    """
    model = load(run, trust=trust)
    refuse_read(which)
    reader, every = Reader(store, model.wants), np.arange(len(store))
    lacks = reader.lacks_leads(every) & (not model.wants.subset)
    rows = np.flatnonzero(reader.long_enough(every) & ~lacks)
    if not len(rows):
        raise ValueError(
            f"No ECG of {store.path} has the {model.wants.seconds:g} s and the leads "
            f"{', '.join(model.wants.leads)} that this model reads."
        )
    windows = Windows(reader, model.stride, counted(progress, len(rows)))
    vectors = features(model.method, windows, rows, which=which)
    ids = store.records.iloc[rows][["record_id", "patient_id"]].reset_index(drop=True)
    return pd.concat([ids, pd.DataFrame(vectors, columns=[str(i) for i in range(vectors.shape[1])])], axis=1)


def refuse_read(which: str) -> None:
    """Refuse an output that reads reports: an embedding is of the ECG."""
    if which.startswith(("fused/", "text/")):
        raise ValueError(f"--which {which} reads reports, and embeddings are of ECGs: say features.")
