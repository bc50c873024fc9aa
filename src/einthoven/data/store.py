"""The store: many ECGs in one form, memory-mapped, beside one table line each."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Int16

from einthoven.data.files import checksum

if TYPE_CHECKING:
    import pandas

FORMAT = 1
FACTS, RECORDS, REJECTED, PARTIAL = "store.json", "records.parquet", "rejected.parquet", ".partial"
GAP = -32768  # the count of a sample that the file does not have: real ones reach 32767 either way
GROUP = 8192  # lines held in memory while a table is written

# The columns that every store has; what else a source knows comes behind them.
COLUMNS: Mapping[str, type] = {
    "record_id": str,
    "patient_id": str,
    "shard": int,
    "row": int,  # place in the shard
    "start": int,
    "stop": int,  # the valid span in samples; outside is padding
    "age": float,
    "sex": str,
    "fold": int,  # from 1 up; 0 in a join: of a store without folds, for training only
    "report": str,
    "source": str,
    "absent": str,  # leads that the record lacks, separated by spaces
    "derived": str,  # leads that were computed from I and II
    "nan_share": float,
    "flat": str,
    "clipped": int,
    "high": bool,
    "law": bool,
}


def shard_name(number: int) -> str:
    """Name a shard.

    >>> shard_name(3)
    'signals-00003.npy'
    """
    return f"signals-{number:05d}.npy"


def open_store(path: Path) -> "Store":
    """Open a finished store, or say in one line why not."""
    path = Path(path)
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if (path / PARTIAL).is_dir():
            raise ValueError(
                f"{path} is unfinished: give its `einthoven import` command again (or `einthoven join`)."
            ) from None
        raise ValueError(
            f"{path} is no store (it has no {FACTS}): `einthoven import SOURCE PATH {path}` makes one."
        ) from None
    except ValueError as wrong:
        raise ValueError(
            f"{path / FACTS} is damaged ({wrong}): delete the store and import again."
        ) from wrong
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise ValueError(f"{path / FACTS} is not the file of a store: {path} holds something else.")
    if facts["format"] > FORMAT:
        raise ValueError(
            f"{path} was made by a newer einthoven (format {facts['format']}): upgrade einthoven."
        )
    for name, said in facts["files"].items():
        size = (path / name).stat().st_size if (path / name).exists() else 0
        if size != said["bytes"]:
            raise ValueError(
                f"{path / name} has {size:,} bytes, not {said['bytes']:,}: delete the store and import again."
            )
    return Store(path, facts)


class Store:
    """Whole ECGs by row number: float32 millivolts (lead, time), what lies outside the valid span is 0.

    Read-only. Signals stay on disk, memory-mapped: a store may be larger than the memory. A pickled
    store is its path, opened again where it arrives.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]):
        self.path = path
        self.leads: tuple[str, ...] = tuple(facts["leads"])
        self.hertz: float = facts["hertz"]
        self.seconds: float = facts["seconds"]
        self.samples: int = facts["samples"]
        self.microvolts: float = facts["microvolts"]
        self.source: str = facts["source"]
        self.title: str = facts["title"]
        self.synthetic: bool = facts["synthetic"]
        self.tasks: Mapping[str, tuple[str, ...]] = {k: tuple(v) for k, v in facts["tasks"].items()}
        self.counts: Mapping[str, int] = facts["counts"]  # records, patients, rejected, and each flag
        self.fingerprint: str = facts["fingerprint"]
        self.facts = facts
        self._ends = np.cumsum(facts["shards"])

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.path,)

    def __repr__(self) -> str:
        return f"<Store {self.path}: {self}>"

    def __str__(self) -> str:
        made_up = " (synthetic)" if self.synthetic and "synthetic" not in self.title else ""
        return (
            f"{self.title}{made_up}: {len(self):,} records of {self.counts['patients']:,} patients, "
            f"{len(self.leads)} leads, {self.hertz:g} Hz, {self.seconds:g} s; "
            f"{self.counts['rejected']:,} rejected"
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def shards(self) -> tuple[Int16[np.ndarray, "record lead time"], ...]:
        """The raw counts, each a read-only map of one file."""
        names = map(shard_name, range(len(self._ends)))
        return tuple(np.asarray(np.load(self.path / name, mmap_mode="r")) for name in names)

    @cached_property
    def records(self) -> "pandas.DataFrame":
        """One line per record, in row order."""
        return read_table(self.path / RECORDS)

    @cached_property
    def rejected(self) -> "pandas.DataFrame":
        """What could not be imported: index in the source, label, reason."""
        return read_table(self.path / REJECTED)

    @cached_property
    def _rows(self) -> Any:
        import pandas

        return pandas.Index(self.records["record_id"])

    def row_of(self, record_id: str) -> int:
        """Return the row number of a record."""
        row: int = self._rows.get_indexer([record_id])[0]
        if row < 0:
            raise ValueError(f"{self.path} has no record {record_id!r}; its first is {self._rows[0]!r}.")
        return int(row)

    def read(
        self, rows: Int[np.ndarray, " row"], *, gaps: bool = False
    ) -> Float[np.ndarray, "row lead time"]:
        """Return whole records (mV); `gaps` are NaN for those who ask, 0 for all others."""
        return self.crop(rows, np.zeros(len(rows), np.int64), self.samples, gaps=gaps)

    def crop(
        self,
        rows: Int[np.ndarray, " row"],
        starts: Int[np.ndarray, " row"],
        samples: int,
        *,
        gaps: bool = False,
    ) -> Float[np.ndarray, "row lead samples"]:
        """Return a window of each record (mV), from its own start; beyond the record it is padding, 0.

        Samples that the file did not have are 0, or with `gaps` NaN, which is not the same as a flat
        line. The fast path of training: from the map straight into the answer, with no copy between.
        """
        rows, starts = np.asarray(rows, np.int64), np.asarray(starts, np.int64)
        out = np.empty((len(rows), len(self.leads), samples), np.float32)
        if not len(rows):
            return out
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(
                f"{self.path} has rows 0 to {len(self) - 1}; asked: {rows.min()} to {rows.max()}"
            )
        shard = np.searchsorted(self._ends, rows, side="right")
        scale, copy = np.float32(self.microvolts / 1000), kernel()
        gap = np.float32(np.nan if gaps else 0)
        for number in np.unique(shard):
            (into,) = np.nonzero(shard == number)
            first = self._ends[number] - len(self.shards[number])
            copy(self.shards[number], rows[into] - first, starts[into], into, scale, gap, out)
        return out


@cache
def kernel() -> Any:
    """Compile the copy once (kept on disk); numba is loaded by those who read signals only."""
    import numba

    @numba.njit(nogil=True, cache=True)  # pragma: no cover
    def copy(shard, places, starts, into, scale, gap, out):  # type: ignore[no-untyped-def]
        _, leads, samples = out.shape
        total = shard.shape[2]
        for i in range(len(places)):
            begin = min(max(-starts[i], 0), samples)
            end = max(min(total - starts[i], samples), begin)
            for lead in range(leads):
                target = out[into[i], lead]
                target[:begin] = 0
                target[end:] = 0
                if begin == end:
                    continue
                # Two slices that begin together: the compiler makes SIMD of them, five times as fast.
                counts = shard[places[i], lead, starts[i] + begin : starts[i] + end]
                inside = target[begin:end]
                for t in range(len(inside)):
                    inside[t] = gap if counts[t] == GAP else counts[t] * scale

    return copy


def verify(store: Store) -> list[str]:
    """Read every byte again; return one line for each file that is not what was written."""
    return [
        f"{store.path / name} is damaged: delete the store and import again."
        for name, said in store.facts["files"].items()
        if checksum(store.path / name) != said["sha256"]
    ]


def read_table(path: Path) -> "pandas.DataFrame":
    """Read a table; whole numbers with gaps (and `fold`) stay whole numbers, as Int64."""
    import pandas
    from pyarrow import parquet, types

    table = parquet.read_table(path)
    frame: pandas.DataFrame = table.to_pandas()
    for field in table.schema:
        column = table[field.name]
        if types.is_integer(field.type) and (column.null_count or field.name == "fold"):
            frame[field.name] = column.to_pandas(types_mapper={field.type: pandas.Int64Dtype()}.get)
        elif types.is_boolean(field.type) and column.null_count:
            frame[field.name] = column.to_pandas(types_mapper={field.type: pandas.BooleanDtype()}.get)
    return frame


def column_kind(kinds: Iterable[type]) -> type:
    """Return the narrowest kind that holds all these: lists win over text, text over numbers.

    >>> column_kind([int, float]), column_kind([bool]), column_kind([])
    (<class 'float'>, <class 'bool'>, <class 'str'>)
    """
    return max(kinds, key=[bool, int, float, str, list].index, default=str)


def cell(value: Any, kind: type) -> Any:
    """Fit a value to its column's kind; a missing list is an empty one: no label."""
    if kind is list:
        return (
            [] if value is None else [str(item) for item in (value if isinstance(value, list) else [value])]
        )
    return value if value is None or type(value) is kind else kind(value)


def write_table(file: IO[bytes], lines: Iterable[Mapping[str, Any]], columns: Mapping[str, type]) -> None:
    """Write lines as Parquet, a few thousand at a time; equal lines give equal bytes."""
    import pyarrow as pa
    from pyarrow import json as arrow_json
    from pyarrow import parquet

    kinds = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
        list: pa.list_(pa.string()),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    strict = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for some in grouped(lines, GROUP):
            # By way of JSON: pa.array(list) would load pandas, for nothing.
            cells = ({name: cell(line.get(name), kind) for name, kind in columns.items()} for line in some)
            text = "\n".join(json.dumps(line, allow_nan=False) for line in cells).encode()
            block = arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1)
            table = arrow_json.read_json(io.BytesIO(text), read_options=block, parse_options=strict)
            writer.write_table(table.select(schema.names).cast(schema))


def grouped(lines: Iterable[Mapping[str, Any]], size: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield lists of `size` lines, the last one shorter."""
    some: list[Mapping[str, Any]] = []
    for line in lines:
        some.append(line)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
