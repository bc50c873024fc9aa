"""One store of several: the records of all, each as it was, under names that tell their people apart."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16

from einthoven.data import files
from einthoven.data.convert import TOP, Chunk, Form, Row
from einthoven.data.importing import Census, check_place, conclude, placed_rows, publish
from einthoven.data.partial import Partial, Seen
from einthoven.data.split import TAUGHT
from einthoven.data.store import (
    COLUMNS,
    FACTS,
    FORMAT,
    GAP,
    PARTIAL,
    RECORDS,
    REJECTED,
    Store,
    open_store,
    verify,
    write_table,
)
from einthoven.ecg import LEADS

SOME = 1024  # records that are looked at together


def prefixed(name: str, source: str) -> str:
    """Name a record or patient as in no other source.

    >>> prefixed("17", "ludb"), prefixed("ludb:17", "ludb")
    ('ludb:17', 'ludb:17')
    """
    return f"{source}:{bare(name, source)}"


def bare(name: str, source: str) -> str:
    """Name a record or patient as its own source does.

    >>> bare("ludb:17", "ludb"), bare("17", "ludb")
    ('17', '17')
    """
    return name.removeprefix(f"{source}:")


@dataclass(frozen=True)
class Part:
    """A store on its way into a join."""

    store: Store
    columns: Mapping[str, str]  # its names of columns -> those of the join; not those without any value
    first: bool  # of the first store's source: ids stay as they are
    untold: bool  # it has no fold, while others have
    factor: int  # counts of the join in one of its own

    def lines(self) -> Iterator[Row]:
        """Yield its lines of the table, as they stand in the join."""
        for line in lines_of(self.store.path / RECORDS):
            row = {self.columns[name]: value for name, value in line.items() if name in self.columns}
            for name in ("record_id", "patient_id"):
                row[name] = self.named(row[name])
            yield row | ({"fold": TAUGHT} if self.untold else {})

    def named(self, name: str) -> str:
        """Name one of its records or patients as in the join."""
        return name if self.first else prefixed(name, self.store.source)

    def counts(self) -> Iterator[tuple[int, Int16[np.ndarray, "record lead time"]]]:
        """Yield its shards, and the factor to the counts of the join."""
        return ((self.factor, shard) for shard in self.store.shards)


def join(
    stores: Sequence[Path], out: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Store:
    """Write the records of several stores into a new one, and open it. Killed, the same call goes on.

    Ids of the first store's source stay as they are; those of another source get its name: `ludb:17`. So do
    statements and words that another source names alike: `ludb/rhythm`. Where some stores have folds,
    records of the others get fold 0: wherever folds divide, they are trained on and never tested on.

    Args:
        stores: Two or more of one rate and length; none of them a join.
        out: The folder to make. What is unfinished goes on; what is finished is only opened.
        progress: Called with the records that are done, and all, from time to time.
    """
    opened, out = [open_store(Path(path)) for path in stores], Path(out)
    form = common_form(opened)
    refuse_unfit(opened, out)
    settings = fingerprint(opened, form)
    check_place(out)
    parts = [] if (out / FACTS).exists() else checked(opened, form)  # before there is a folder
    with files.one_line(out):
        out.mkdir(parents=True, exist_ok=True)
    with files.alone(out):
        publish(out)  # what an earlier start had finished but for the names
        if not (out / FACTS).exists():
            partial = Partial(out / PARTIAL, form, settings)
            copy(parts, partial, progress)
            finish(parts, partial, settings)
            publish(out)
    made = open_store(out)
    if made.facts["settings"] != settings:
        raise ValueError(f"{out} holds something else ({made}): name another folder or delete it.")
    return made


def common_form(stores: Sequence[Store]) -> Form:
    """Return the form that all stores have; steps may differ, the finest one holds all exactly."""
    if len(stores) < 2:
        named = f"got {stores[0].path}" if stores else "got none"
        raise ValueError(f"A join is of two stores or more, {named}.")
    shapes = [(store.leads, store.hertz, store.samples) for store in stores]
    if len(set(shapes)) > 1:
        told = "; ".join(
            f"{store.path}: {len(store.leads)} leads, {store.hertz:g} Hz, {store.seconds:g} s"
            for store in stores
        )
        raise ValueError(
            f"Stores to join have the same leads, rate and length, but {told}. Import again, with --hertz "
            f"{stores[0].hertz:g}."
        )
    assert stores[0].leads == LEADS
    return Form(stores[0].hertz, stores[0].seconds, min(store.microvolts for store in stores))


def refuse_unfit(stores: Sequence[Store], out: Path) -> None:
    """Refuse a store that is named twice, that is a join, or that is to be written over."""
    places = [store.path.resolve() for store in stores]
    for place, store in zip(places, stores, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{store.path} is named twice: its patients would be counted twice.")
        if "parts" in store.facts:
            told = ", ".join(part["title"] for part in store.facts["parts"])
            raise ValueError(f"{store.path} is a join itself: name the stores that it was made of ({told}).")
        if place == out.resolve():
            raise ValueError(f"{out} is one of the stores to join: name a new folder.")


def fingerprint(stores: Sequence[Store], form: Form) -> str:
    """Tell joins apart: by what is joined, in which order, and by the form of the store."""
    told = {
        "join": [
            [store.facts[key] for key in ("title", "source", "synthetic", "tasks", "files")]
            for store in stores
        ],
        "form": [FORMAT, form.hertz, form.seconds, form.microvolts, form.chunk, form.shard],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def checked(stores: Sequence[Store], form: Form) -> list[Part]:
    """Plan what each store becomes, or say why they cannot be joined."""
    parts = parts_of(stores, form)
    refuse_damaged(stores)
    refuse_borrowed(parts)
    refuse_clashes(parts)
    return parts


def parts_of(stores: Sequence[Store], form: Form) -> list[Part]:
    """Plan what each store becomes."""
    names = names_of(stores)
    folded = [any(line["fold"] is not None for line in lines_of(s.path / RECORDS, ["fold"])) for s in stores]
    parts = []
    for store, columns, has_folds in zip(stores, names, folded, strict=True):
        factor = round(store.microvolts / form.microvolts)
        if abs(factor * form.microvolts - store.microvolts) > 1e-9 * store.microvolts:
            steps = ", ".join(f"{s.path}: {s.microvolts:g}" for s in stores)
            raise ValueError(
                f"Stores to join have steps that are whole multiples of the finest one, but {steps} "
                "microvolts: import again with equal steps."
            )
        untold = not has_folds and any(folded)
        parts.append(Part(store, columns, store.source == stores[0].source, untold, factor))
        refuse_beyond(parts[-1], form)
    return parts


def names_of(stores: Sequence[Store]) -> list[dict[str, str]]:
    """Name the columns of each store in the join.

    What another source says in words or statements under the same name is something else, and stands apart:
    there the words are others, and a statement that is not made need not be untrue. Numbers share a column.
    A column without any value says nothing, not even what it would hold: it is left out.
    """
    from pyarrow import parquet, types

    owners: dict[str, tuple[Store, bool]] = {}
    told = []
    for store in stores:
        names = dict(zip(COLUMNS, COLUMNS, strict=True))
        for field in parquet.read_schema(store.path / RECORDS):
            if field.name in COLUMNS or not has_values(store, field.name):
                continue
            number = not (types.is_string(field.type) or types.is_list(field.type))
            owner, numbers = owners.setdefault(field.name, (store, number))
            same = owner.source == store.source
            if same and number != numbers:
                warnings.warn(
                    f"Column {field.name!r} holds {'numbers' if numbers else 'words'} in {owner.path} and "
                    f"{'numbers' if number else 'words'} in {store.path}: in the join all of them are words.",
                    stacklevel=2,
                )
            alike = same or (number and numbers)
            names[field.name] = field.name if alike else f"{store.source}/{field.name}"
        told.append(names)
    return told


def has_values(store: Store, column: str) -> bool:
    """Say whether anything stands in a column; a missing list is an empty one."""
    return any(line[column] not in (None, []) for line in lines_of(store.path / RECORDS, [column]))


def refuse_damaged(stores: Sequence[Store]) -> None:
    """Refuse what is not as it was written: in the join it would look whole."""
    for store in stores:
        if faults := verify(store):
            raise ValueError(faults[0])


def refuse_beyond(part: Part, form: Form) -> None:
    """Refuse counts that the finer step of the join cannot hold."""
    most = TOP // part.factor
    first = 0
    for _, shard in part.counts() if part.factor > 1 else ():
        for begin in range(0, len(shard), SOME):
            some = shard[begin : begin + SOME]
            beyond = ((some > most) | ((some < -most) & (some != GAP))).any(axis=(1, 2))
            if beyond.any():
                record = part.store.records["record_id"].iloc[first + begin + int(beyond.argmax())]
                raise ValueError(
                    f"Record {record!r} of {part.store.path} reaches beyond "
                    f"{TOP * form.microvolts / 1000:g} mV, more than steps of {form.microvolts:g} microvolts "
                    f"can hold: import the other stores with steps of {part.store.microvolts:g}."
                )
        first += len(shard)


def refuse_borrowed(parts: Sequence[Part]) -> None:
    """Refuse an id that stays as it is and reads as one of another source."""
    others = {part.store.source for part in parts if not part.first}
    for part in (part for part in parts if part.first):
        for line in lines_of(part.store.path / RECORDS, ["record_id", "patient_id"]):
            for what, name in line.items():
                source, colon, _ = name.partition(":")
                if colon and source in others:
                    raise ValueError(
                        f"{part.store.path} has the {what} {name!r}, which in the join would be one of "
                        f"source {source!r}: name a store of that source first, or import with other ids."
                    )


def refuse_clashes(parts: Sequence[Part]) -> None:
    """Refuse a record id that two stores of one source share."""
    seen = Seen()
    for part in parts:
        lines = lines_of(part.store.path / RECORDS, ["record_id"])
        while some := [part.named(line["record_id"]) for line in islice(lines, SOME)]:
            new = seen.add(some)
            if not new.all():
                raise ValueError(
                    f"Record {some[int(new.argmin())]!r} of {part.store.path} stands in another of the "
                    f"stores, too, which is also of source {part.store.source!r}: leave one of them out, or "
                    "give its records other ids and import again."
                )


def lines_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the lines of a table as plain values, a few at a time."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        for some in table.iter_batches(SOME, columns=columns):
            yield from some.to_pylist()


def copy(parts: Sequence[Part], partial: Partial, progress: Callable[[int, int], None]) -> None:
    """Copy what is not copied yet, chunk by chunk."""
    total, size = sum(len(part.store) for part in parts), partial.form.chunk
    lines = islice((row for part in parts for row in part.lines()), partial.next, None)
    try:
        progress(min(partial.next, total), total)
        while partial.next < total:
            rows = list(islice(lines, size))
            counts = counted(parts, partial.next, partial.next + len(rows))
            origins = [{"index": partial.next + n, "label": row["record_id"]} for n, row in enumerate(rows)]
            partial.append(Chunk(counts, rows, origins, []))
            progress(min(partial.next, total), total)
    except KeyboardInterrupt:
        done = f"{min(partial.next, total):,} of {total:,} records"
        raise KeyboardInterrupt(f"Stopped after {done}. The same command goes on from there.") from None
    assert partial.kept == total


def counted(parts: Sequence[Part], first: int, last: int) -> Int16[np.ndarray, "record lead time"]:
    """Return the samples of some records of the join, in its counts."""
    found, at = [], 0
    for factor, shard in (pair for part in parts for pair in part.counts()):
        some = shard[max(first - at, 0) : max(last - at, 0)]
        if len(some):
            found.append(some if factor == 1 else finer(some, factor))
        at += len(shard)
    return np.concatenate(found)


def finer(
    counts: Int16[np.ndarray, "record lead time"], factor: int
) -> Int16[np.ndarray, "record lead time"]:
    """Say the same in smaller steps; gaps stay gaps."""
    return np.where(counts == GAP, GAP, counts.astype(np.int32) * factor).astype(np.int16)


def finish(parts: Sequence[Part], partial: Partial, settings: str) -> None:
    """Write the tables and, last, the facts."""
    census = Census()
    for rows in placed_rows(partial):
        census.add(rows)
    with files.new_file(partial.folder / REJECTED) as file:
        columns = {"index": int, "label": str, "reason": str, "source": str}
        write_table(file, rejected(parts), columns)
    stores = [part.store for part in parts]
    if shared := sum(store.counts["patients"] for store in stores) - len(census.patients):
        warnings.warn(
            f"{shared:,} patients stand in several of the stores (same source, same id): they count as the "
            "same people.",
            stacklevel=3,
        )
    lines = (row for rows in placed_rows(partial) for row in rows)
    about: dict[str, Any] = {
        "title": " + ".join(map(titled, stores)),
        "source": "+".join(dict.fromkeys(store.source for store in stores)),
        "synthetic": any(store.synthetic for store in stores),
        "parts": [
            {"records": len(s)}
            | {key: s.facts[key] for key in ("title", "source", "synthetic", "fingerprint")}
            for s in stores
        ],
        "settings": settings,
        "labels": None,
    }
    conclude(partial, census, lines, about, rejected=sum(store.counts["rejected"] for store in stores))


def titled(store: Store) -> str:
    """Name a store, and say if its ECGs are made up: those beside it may not be."""
    said = "made-up" in store.title or "synthetic" in store.title
    return store.title + (" (made-up ECGs)" if store.synthetic and not said else "")


def rejected(parts: Sequence[Part]) -> Iterator[Row]:
    """Yield what the imports refused."""
    for part in parts:
        for line in lines_of(part.store.path / REJECTED):
            yield line | {"source": part.store.source}
