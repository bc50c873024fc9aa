"""The jobs of the command line as functions, and `fit` for whoever has two arrays."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from einthoven.adopt import convert as convert_published
from einthoven.audit import audit_job
from einthoven.bench import bench as bench_run
from einthoven.data.files import make_folder, read_json, write_json
from einthoven.data.importing import import_ as import_source
from einthoven.data.joining import join as join_stores
from einthoven.data.opening import make_source
from einthoven.data.store import Store, open_store
from einthoven.data.task import find_task
from einthoven.data.whole import Whole
from einthoven.ecg import LEADS, Record, Source
from einthoven.embedding import Asked, Options, judge_embeddings, table_of
from einthoven.language.views import named
from einthoven.parts import build, call, find
from einthoven.predict import Model, load
from einthoven.predict import embed as embed_store
from einthoven.predict import predict as predict_files
from einthoven.reduced import judge_leads
from einthoven.report import report as write_report
from einthoven.report.space import Words, draw_space, umap
from einthoven.run import train as train_run
from einthoven.types import Distance
from einthoven.warp.matrix import write_matrix
from einthoven.zeroshot import judge_zeroshot


def import_(
    source: str,
    path: str | Path | None,
    store: str | Path,
    *,
    hertz: float = 100.0,
    labels: str | Path | None = None,
    workers: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Import ECGs of any source into a store; a killed import goes on where it was."""
    several_rates = find("sources", source).rates  # then ask for the one that is nearest
    told = ({"hertz": hertz} if several_rates else {}) | dict(options or {})
    made = make_source(source, None if path is None else Path(path), told)
    kept = None if labels is None else Path(labels)
    return import_source(made, Path(store), hertz=hertz, labels=kept, workers=workers, progress=progress)


def join(
    stores: Sequence[str | Path],
    out: str | Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store:
    """Join several stores of one rate and length into a new one; a killed join goes on where it was."""
    return join_stores([Path(store) for store in stores], Path(out), progress=progress)


def open(store: str | Path) -> Store:
    """Open a store."""
    return open_store(Path(store))


def train(recipe: str | Path | Mapping[str, Any], store: str | Path, run: str | Path, **how: Any) -> Path:
    """Train a recipe (a TOML file or a dictionary) on a store into a run folder, and write its report.

    `how`: sets, resume, device, track and watch, as in `einthoven.run.train`.
    """
    made = Path(recipe) if isinstance(recipe, str) else recipe
    done = train_run(made, Path(store), Path(run), **how)
    write_report(done)
    return done


def audit(
    store: str | Path,
    task: str,
    *,
    view: str = "full",
    column: str = "report",
    out: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Ask what the reports of a store give away of a task; return the lines to read, write JSON to `out`."""
    made, shown = open_store(Path(store)), named(view)
    asked = find_task(made, table_of(task, made))
    kept = None if out is None else Path(out)
    return audit_job(made, asked, view=shown, column=column, out=kept, progress=progress)


def bench(grid: str | Path, store: str | Path, out: str | Path, **how: Any) -> Path:
    """Run a grid (a TOML file) of recipes x tasks x seeds x arms on a store; return the folder of its table.

    `how`: device, ray and watch, as in `einthoven.bench.bench`.
    """
    return bench_run(Path(grid), Path(store), Path(out), **how)


def convert(which: str, file: str | Path, run: str | Path, *, tell: Callable[[str], None] = print) -> Path:
    """Turn your copy of a published encoder (st-mem, ecg-jepa) into a run folder; `tell` gets its licence."""
    return convert_published(which, Path(file), Path(run), tell=tell)


def predict(
    run: str | Path,
    files: str | Path | Sequence[str | Path],
    options: Mapping[str, Any] | None = None,
    *,
    text: str = "",
    trust: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Answer for ECG files: one line per ECG, one column per label.

    `text` is read beside each ECG by a run that fuses both; without, it answers from the ECG alone.
    `trust` lets a run name parts outside einthoven, whose code is then executed.
    """
    several = [files] if isinstance(files, str | Path) else files
    how: dict[str, Any] = {"text": text, "trust": trust, "progress": progress}
    return predict_files(Path(run), [Path(file) for file in several], options, **how)


def embed(
    run: str | Path,
    store: str | Path,
    *,
    which: str = "features",
    trust: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Return one vector per ECG of a store that the model can read."""
    return embed_store(Path(run), open_store(Path(store)), which=which, trust=trust, progress=progress)


def evaluate(
    what: str,
    run: str | Path,
    store: str | Path,
    *,
    task: str | None = None,
    out: str | Path | None = None,
    which: str = "features",
    options: Mapping[str, Any] | None = None,
    **how: Any,
) -> tuple[dict[str, Any], Path]:
    """Judge the embeddings of a run: `what` of `einthoven.embedding.QUESTIONS`. Return figures and file.

    `task` is one of the store, a column, or "column > number"; by default what the run was trained for.
    `options` are those of `einthoven.embedding.Options`: distance, untrained, map, seed ... The figures go
    to `out`, a .json (by default RUN/evaluate/TASK.WHAT.json, with what else is not as usual in its name),
    and a map of the test records beside it, .svg and .png. `how`: `trust`, as in `predict`, and `progress`,
    which hears of records that are embedded, and of all.
    """
    if out is not None and Path(out).suffix != ".json":
        raise ValueError(
            f"The figures are written as .json, and maps beside them: --out {out}.json, not {out}."
        )
    asked = Asked(what=what, task=task, which=which)
    judging: Options = call(Options, options or {}, where="--set")
    if judging.map == "umap":
        umap()  # before the work, not after it
    place = Path(run) / "evaluate" if out is None else Path(out).parent
    if out is not None or (Path(run) / "results.json").is_file():  # else `judge` says that it is no run
        make_folder(place)  # before the work, too
    judge = {"leads": judge_leads, "zeroshot": judge_zeroshot}.get(what, judge_embeddings)
    found = judge(Path(run), open_store(Path(store)), asked, judging, **how)
    file = place / f"{usual_name(Path(run), found.figures)}.json" if out is None else Path(out)
    write_json(file, found.figures)  # first: no map is worth them
    for kind in (".svg", ".png"):
        words = map_words(found.figures)
        draw_space(file.with_suffix(kind), found.test, words, distance=judging.distance, way=judging.map)
    return found.figures, file


def usual_name(run: Path, figures: Mapping[str, Any]) -> str:
    """Name an evaluation by task and job, and by all that is not as usual: output, options, store."""
    names, usual = [file_name(figures["task"]["name"]), figures["what"]], asdict(Options())
    names += [figures["which"]] if figures["which"] != "features" else []
    told = {key: value for key, value in figures["how"].items() if value != usual[key]}
    told |= {"prompts": file_name(told["prompts"])} if "prompts" in told else {}  # a path
    names += [f"{key}-{value}".lower() for key, value in told.items()]
    trained = read_json(run / "environment.json", "store", "fingerprint")
    source, fingerprint = (figures["store"][key] for key in ("source", "fingerprint"))
    return ".".join(names + ([f"{source}-{fingerprint}"] if fingerprint != trained else []))


def file_name(words: str) -> str:
    """Make of any words a name that every disk takes, and of different words different ones.

    >>> file_name("pcwp > 18"), file_name("pcwp >= 18"), file_name("a_b"), file_name("a/b")
    ('pcwp_above_18', 'pcwp_least_18', 'a_b', 'a_b-c14cddc0')
    """
    plain = words.replace(" >= ", "_least_").replace(" > ", "_above_")
    safe = re.sub(r"[^\w.-]+", "_", plain).strip("._-")[:60] or "task"
    return safe if safe == plain else f"{safe}-{sha256(words.encode()).hexdigest()[:8]}"


def map_words(figures: Mapping[str, Any]) -> Words:
    """Say what a map shows."""
    task, made_up = figures["task"], " · MADE-UP ECGs" if figures["store"]["synthetic"] else ""
    count = f"{figures['counts']['test']['records']:,} test ECGs"
    return Words(
        title=f"{figures['run']} on {task['name']}, {count}{made_up}",
        what=figures["which"],
        labels=tuple(task["labels"]),
        numbers=task["kind"] == "regression",
        unit=task["unit"] or "",
    )


def distances(
    store: str | Path,
    out: str | Path,
    distance: str = "dtw",
    options: Mapping[str, Any] | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Compute the distances between all raw ECGs of a store into a folder, for distance `precomputed`."""
    signals = Whole(open_store(Path(store)))
    made: Distance = build("distances", {"name": distance, **(options or {})}, signals=signals)
    write_matrix(Path(out), made, np.arange(len(signals.records)), signals, progress=progress)
    return Path(out)


class Arrays(Source):
    """ECGs that are already in memory."""

    title = "arrays in memory"

    def __init__(
        self,
        ecg: Float[np.ndarray, "record lead time"],
        rows: Sequence[Mapping[str, Any]],
        *,
        hertz: float,
        leads: Sequence[str],
        patients: Sequence[Any],
    ):
        self.ecg, self.rows, self.hertz = ecg, rows, float(hertz)
        self.leads, self.patients = tuple(leads), patients

    def __len__(self) -> int:
        return len(self.ecg)

    def label(self, index: int) -> str:
        """Name a record by its place."""
        return f"record {index}"

    def read(self, index: int) -> Record:
        """Return one ECG."""
        signal = np.asarray(self.ecg[index], np.float32)
        who = str(self.patients[index])
        return Record(str(index), who, signal, self.leads, self.hertz, self.rows[index])


def fit(
    ecg: Float[np.ndarray, "record lead time"],
    labels: Any,
    *,
    hertz: float,
    leads: Sequence[str] = LEADS,
    patients: Sequence[Any] | None = None,
    kind: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
) -> Model:
    """Train a classifier or a regression on two arrays, honestly split by patient.

    `ecg` is in mV at `hertz`, NaN where unknown. `labels` is one number or word per record, a matrix
    of 0 and 1, or a list of statements per record; up to 20 different whole numbers are taken as
    classes unless `kind` = "regression". Records of one patient share an entry of
    `patients`; without it each record counts as its own patient. `recipe` replaces tables of the
    built-in recipe (windows of 2.5 s, resnet1d_wang). The run folder (results, report) is in `out`,
    or in a new temporary folder: `model.run` says where.

        model = fit(ecg, labels, hertz=500, patients=ids)
        model.predict(new_ecg, hertz=500)
    """
    ecg = np.asarray(ecg)
    if ecg.ndim != 3 or ecg.shape[1] != len(leads):
        raise ValueError(f"fit needs ecg of (record, {len(leads)} leads, time), got {ecg.shape}.")
    told, task = described(labels, kind)
    if len(told) != len(ecg) or (patients is not None and len(patients) != len(ecg)):
        raise ValueError(f"fit needs one label and one patient per ECG: {len(ecg)} ECGs, {len(told)} labels.")
    folder = Path(out) if out is not None else Path(mkdtemp(prefix="einthoven-"))
    owners = range(len(ecg)) if patients is None else patients
    source = Arrays(ecg, told, hertz=hertz, leads=leads, patients=owners)
    lasts = ecg.shape[2] / hertz
    store = import_source(source, folder / "store", hertz=100.0, seconds=lasts)
    multiclass, regression = (task["kind"] == kind for kind in ("multiclass", "regression"))
    present = [lead for lead in LEADS if lead not in store.records["absent"].iloc[0].split()]
    made = {
        "task": task,
        "split": {"by": "patient", "shares": [0.7, 0.15, 0.15]},
        "signal": {"leads": present, "seconds": min(2.5, lasts), "scale": "train"},
        "backbone": {"name": "resnet1d_wang"},
        "head": {"name": "linear"},
        "loss": {"name": "cross_entropy" if multiclass else "huber" if regression else "bce"},
        "train": {"epochs": 30, "batch": batch_for(len(ecg)), "lr": 5e-3, "average": 0.99},
    }
    return load(train(made | dict(recipe or {}), store.path, folder / "run"), trust=True)


def batch_for(records: int) -> int:
    """Choose a batch that gives a few hundred steps even to a small set."""
    return min(64, max(8, records // 16))


def described(labels: Any, kind: str | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the labels as cells of a store, and the task that they make."""
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        if not np.isin(labels[~np.isnan(labels.astype(float))], (0, 1)).all():
            raise ValueError("A matrix of labels holds 0 and 1; regress one column at a time.")
        names = [f"label {i}" for i in range(labels.shape[1])]
        lines = [{n: float(x) for n, x in zip(names, line, strict=True)} for line in labels]
        return lines, {"columns": names, "kind": "labels"}
    cells = [x.item() if isinstance(x, np.generic) else x for x in labels]
    if any(isinstance(x, list | tuple | set) for x in cells):
        if empty := [i for i, x in enumerate(cells) if x is not None and not len(x)]:
            raise ValueError(
                f"labels[{empty[0]}] is empty, which says nothing: name what a healthy ECG has (['normal']), "
                "or say None if it is unknown."
            )
        return [{"label": sorted(x or [])} for x in cells], {"name": "label", "kind": "labels"}
    if kind is None:
        values = {x for x in cells if x is not None and x == x}
        words = any(isinstance(x, str) for x in values)
        kind = "labels" if values <= {0, 1} else "multiclass" if words or whole(values) else "regression"
    return [{"label": x} for x in cells], {"column": "label", "kind": kind}


def whole(values: set[Any]) -> bool:
    """Say whether numbers look like classes: few, and all of them whole."""
    return len(values) <= 20 and all(isinstance(x, int) for x in values)
