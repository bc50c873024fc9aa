"""The import: any source of ECGs becomes a store. Killed at any moment, the same command goes on."""

import hashlib
import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data import files
from einthoven.data.convert import Form, Row
from einthoven.data.labels import Labels
from einthoven.data.partial import Partial, Seen
from einthoven.data.store import (
    COLUMNS,
    FACTS,
    FORMAT,
    PARTIAL,
    RECORDS,
    REJECTED,
    Store,
    cell,
    column_kind,
    open_store,
    shard_name,
    write_table,
)
from einthoven.data.workers import convert_all
from einthoven.ecg import LEADS, Source

RESTING = 10.0  # seconds: what a resting ECG lasts


def import_(
    source: Source,
    store: Path,
    *,
    hertz: float = 100.0,
    seconds: float | None = None,
    microvolts: float = 1.0,
    labels: Path | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Read every record of a source into a store, and open it.

    Args:
        source: What to read.
        store: The folder to make. What is unfinished goes on; what is finished is only opened.
        hertz: The rate of the store.
        seconds: Its length: longer records are cut, shorter ones padded. None: 10 s, a resting ECG.
        microvolts: The step of the whole numbers that it holds.
        labels: A CSV table of what else is known, by `record_id` (or its first column). Where it has a
            value, it wins. A column with a cell like `MI;CD` is a task with many labels.
        workers: Processes that read; 0 reads in this one. The store does not depend on it.
        progress: Called with the records that are done, and all, from time to time.
    """
    form = Form(float(hertz), RESTING if seconds is None else float(seconds), float(microvolts))
    store, joined = Path(store), Labels(Path(labels)) if labels else None
    settings = fingerprint(source, form)
    total = len(source)
    if not total:
        raise ValueError(f"{source.title or type(source).__name__} holds no record.")
    check_place(store)
    with files.one_line(store):
        store.mkdir(parents=True, exist_ok=True)
    with files.alone(store):
        publish(store)  # what an earlier start had finished but for the names
        if not (store / FACTS).exists():
            partial = Partial(store / PARTIAL, form, settings)
            try:
                read_all(source, partial, workers, progress or (lambda done, total: None))
                finish(partial, source, joined, settings)
                publish(store)
            except KeyboardInterrupt:
                done = f"{min(partial.next, total):,} of {total:,} records"
                raise KeyboardInterrupt(
                    f"Stopped after {done}. The same command goes on from there."
                ) from None
    return same(open_store(store), settings, joined)


def check_place(store: Path) -> None:
    """Refuse a folder that holds something else."""
    if store.is_dir() and not {FACTS, PARTIAL} & {p.name for p in store.iterdir()} and any(store.iterdir()):
        raise ValueError(f"{store} is not empty and holds no store: name a new folder.")


def same(store: Store, settings: str, labels: Labels | None) -> Store:
    """Refuse a finished store that came from something else.

    A finished store is not read again: what was rejected and has been mended since, or changed at the
    same size, comes in when the store is deleted and imported anew.
    """
    other = [
        what
        for what, mine in (("settings", settings), ("labels", labels and labels.hash))
        if store.facts[what] != mine
    ]
    if other:
        what = (
            "other labels"
            if other == ["labels"]
            else "another source or other options (or files have changed since)"
        )
        raise ValueError(
            f"{store.path} holds an import of {what} ({store}): name another folder or delete it."
        )
    return store


def fingerprint(source: Source, form: Form) -> str:
    """Tell imports apart: by the source's class, options, list and files; by the form of the store."""
    step = max(1, len(source) // 1000)
    told = {
        "part": f"{type(source).__module__}:{type(source).__qualname__}",
        "title": source.title,
        "state": dict(sorted(vars(source).items())),
        "labels": [len(source), *(source.label(index) for index in range(0, len(source), step))],
        "sizes": sizes(source),
        "form": [FORMAT, form.hertz, form.seconds, form.microvolts, form.chunk, form.shard],
    }
    return hashlib.sha256(json.dumps(told, default=told_by, skipkeys=True).encode()).hexdigest()[:16]


def sizes(source: Source) -> list[int]:
    """Return the bytes of each file of a source that lists them in `files`: paths, or names in its `path`."""
    state = vars(source)
    listed = state.get("files", ())
    paths = (file if isinstance(file, Path) else Path(state["path"], file) for file in listed)
    return [path.stat().st_size if path.is_file() else -1 for path in paths]


def told_by(value: Any) -> Any:
    """Tell what JSON cannot hold by something that is the same in every process."""
    match value:
        case Path():
            return str(value.resolve())
        case np.generic():
            return value.item()
        case np.ndarray():
            shape = [str(value.dtype), *value.shape]  # of a file on disk, the path tells the rest
            if isinstance(value, np.memmap):
                return shape
            if value.dtype.hasobject:
                return [*shape, *map(str, value.flat)]
            return [*shape, zlib.crc32(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)]
        case set() | frozenset():
            return sorted(map(str, value))
    return type(value).__name__


def read_all(source: Source, partial: Partial, workers: int, progress: Callable[[int, int], None]) -> None:
    """Convert what is not converted yet."""
    total, size = len(source), partial.form.chunk
    spans = [(first, min(first + size, total)) for first in range(partial.next, total, size)]
    progress(min(partial.next, total), total)
    with closing(convert_all(source, partial.form, spans, min(workers, len(spans)))) as chunks:
        for chunk in chunks:
            partial.append(chunk)
            progress(min(partial.next, total), total)


class Census:
    """Counts and kinds over all lines, before any is written."""

    def __init__(self) -> None:
        self.kinds: dict[str, set[type]] = {name: {kind} for name, kind in COLUMNS.items()}
        self.counts: Counter[str] = Counter()
        self.patients = Seen()
        self.content = hashlib.sha256()

    def add(self, rows: list[Row]) -> None:
        """Take in some lines."""
        self.patients.add([row["patient_id"] for row in rows])
        for row in rows:
            self.content.update(json.dumps(row, sort_keys=True).encode())
            for name, value in row.items():
                if value is not None and name not in COLUMNS:
                    self.kinds.setdefault(name, set()).add(type(value))
                elif name not in COLUMNS:
                    self.kinds.setdefault(name, set())
            for flag in ("absent", "nan_share", "flat", "clipped", "high", "law"):
                self.counts[flag] += bool(row[flag])

    def columns(self) -> dict[str, type]:
        """Return the kind of each column: ours, the tasks, the rest, each in the order of their coming."""
        kinds = {name: column_kind(kinds) for name, kinds in self.kinds.items()}
        ours = [name for name in kinds if name in COLUMNS]
        tasks = [name for name in kinds if name not in COLUMNS and kinds[name] is list]
        rest = [name for name in kinds if name not in COLUMNS and kinds[name] is not list]
        return {name: kinds[name] for name in (*ours, *tasks, *rest)}


def placed_rows(partial: Partial) -> Iterator[list[Row]]:
    """Yield the finished lines, chunk by chunk, with their places."""
    first = 0
    for rows in partial.rows():
        for number, row in enumerate(rows, first):
            row["shard"], row["row"] = divmod(number, partial.form.shard)
        first += len(rows)
        yield rows


def joined_rows(partial: Partial, source: str, labels: Labels | None) -> Iterator[list[Row]]:
    """Yield the finished lines, chunk by chunk: with their places, their source and their labels."""
    for rows in placed_rows(partial):
        for row in rows:
            row["source"] = source
        if labels:
            labels.join(rows)
        yield rows


def finish(partial: Partial, source: Source, labels: Labels | None, settings: str) -> None:
    """Close an import: count its lines, and write what is beside the samples."""
    title, name = source.title or type(source).__name__, type(source).__module__.rpartition(".")[2]
    if not partial.kept:
        first = next(partial.rejected())
        shutil.rmtree(partial.folder)
        partial.folder.parent.rmdir()
        raise ValueError(
            f"{title}: none of {partial.refused:,} records could be imported; the first, "
            f"{first['label']}: {first['reason'].rstrip('.')}."
        )
    census = Census()
    for rows in joined_rows(partial, name, labels):
        census.add(rows)
    if labels:
        labels.check(next(partial.rows())[0]["record_id"])
    about = {"title": title, "source": name, "synthetic": source.synthetic}
    about |= {"settings": settings, "labels": labels and labels.hash}
    lines = (row for rows in joined_rows(partial, name, labels) for row in rows)
    with files.new_file(partial.folder / REJECTED) as file:
        write_table(file, partial.rejected(), {"index": int, "label": str, "reason": str})
    conclude(partial, census, lines, about, rejected=partial.refused)


def conclude(partial: Partial, census: Census, lines: Iterator[Row], about: Row, *, rejected: int) -> None:
    """Write the table of records and, last, the facts; `about` says of whom they are."""
    folder, form, columns = partial.folder, partial.form, census.columns()
    tasks: dict[str, set[str]] = {name: set() for name, kind in columns.items() if kind is list}
    with files.new_file(folder / RECORDS) as file:
        write_table(file, noted(lines, tasks), columns)
    sizes = partial.close()
    written = [*map(shard_name, range(len(sizes))), RECORDS, REJECTED]
    sums: dict[str, dict[str, Any]] = {
        n: {"bytes": (folder / n).stat().st_size, "sha256": files.checksum(folder / n)} for n in written
    }
    for number in range(len(sizes)):
        census.content.update(sums[shard_name(number)]["sha256"].encode())
    facts = {
        "format": FORMAT,
        **about,
        "leads": list(LEADS),
        "hertz": form.hertz,
        "seconds": form.samples / form.hertz,
        "samples": form.samples,
        "microvolts": form.microvolts,
        "tasks": {name: sorted(classes) for name, classes in tasks.items()},
        "counts": {
            "records": partial.kept,
            "patients": len(census.patients),
            "rejected": rejected,
            **census.counts,
        },
        "shards": sizes,
        "files": sums,
        "fingerprint": census.content.hexdigest()[:16],
    }
    files.write_json(folder / FACTS, facts)


def noted(lines: Iterator[Row], tasks: Mapping[str, set[str]]) -> Iterator[Row]:
    """Pass lines on, and note the classes of each task as they are written: a word is a list of one, too."""
    for line in lines:
        for name, classes in tasks.items():
            classes.update(cell(line.get(name), list))
        yield line


def publish(store: Path) -> None:
    """Give finished files their place, the facts last. Stopped in between, it is simply done again."""
    partial = store / PARTIAL
    if (partial / FACTS).exists():
        facts = json.loads((partial / FACTS).read_text(encoding="utf-8"))
        with files.one_line(store):
            for name in (*facts["files"], FACTS):
                if (partial / name).exists():
                    os.replace(partial / name, store / name)
            files.flush_folder(store)
    if (store / FACTS).exists() and partial.exists():
        shutil.rmtree(partial)
