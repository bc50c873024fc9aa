"""An unfinished import on disk. Finished chunks count, whatever else lies there does not."""

import hashlib
import io
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from einthoven.data import files
from einthoven.data.convert import Chunk, Form, Row
from einthoven.data.store import shard_name
from einthoven.ecg import LEADS

HEADER = 128  # bytes before the samples of a .npy file of three axes


class Seen:
    """Tells new names from old ones at eight bytes a name: five million take 40 MB.

    Two different names look the same with a chance of 1 in a million among five million.
    """

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []  # sorted, each more than twice as long as the next

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    def add(self, names: Sequence[str]) -> Bool[np.ndarray, " name"]:
        """Remember these names; say which of them are new."""
        digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
        keys = np.frombuffer(digests, np.uint64)
        new = np.zeros(len(keys), bool)
        new[np.unique(keys, return_index=True)[1]] = True
        for run in self.runs:
            at = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            new &= run[at] != keys
        if new.any():
            self.runs.append(np.sort(keys[new]))
        while len(self.runs) > 1 and len(self.runs[-2]) <= 2 * len(self.runs[-1]):
            self.runs[-2:] = [np.sort(np.concatenate(self.runs[-2:]), kind="stable")]
        return new


class Partial:
    """The chunks that are finished: samples in shards, and one file of lines for each chunk.

    A chunk is finished when its lines have their name, which they get after the samples are on the disk.
    They hold a checksum of both, and from the first chunk that fails it (after a power cut) the work is
    done again, over what lies there.
    """

    def __init__(self, folder: Path, form: Form, settings: str):
        self.folder, self.form = folder, form
        self.chunks = self.kept = self.refused = 0
        self.refusing: list[int] = []  # the chunks that refused something
        self.seen = Seen()
        self.begin(settings)
        while self.take_up():
            pass

    def begin(self, settings: str) -> None:
        """Keep the work of an earlier start with the same settings; refuse to throw other work away."""
        note = self.folder / "settings"
        if note.exists() and note.read_text(encoding="utf-8") == settings:
            return
        if note.exists() and next(self.folder.glob("lines-*.jsonl"), None):
            raise ValueError(
                f"{self.folder.parent} holds an unfinished import of other files or settings: "
                "give that command again, name another folder, or delete it."
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        with files.one_line(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        files.write_text(note, settings)

    def lines(self, number: int) -> Path:
        """Name the lines of a chunk."""
        return self.folder / f"lines-{number:07d}.jsonl"

    @property
    def next(self) -> int:
        """Return the source's first record that is not in a finished chunk."""
        return self.chunks * self.form.chunk

    def take_up(self) -> bool:
        """Take the next chunk of an earlier start, if it is whole."""
        try:
            said, rows, rejected, lines = read_lines(self.lines(self.chunks))
            found = zlib.crc32(lines, self.crc(self.kept, self.kept + said["rows"]))
        except (FileNotFoundError, ValueError):
            return False
        if said != {"rows": len(rows), "rejected": len(rejected), "crc": found}:
            return False
        self.seen.add([row["record_id"] for row in rows])
        self.count(rows, rejected)
        return True

    def count(self, rows: list[Row], rejected: list[Row]) -> None:
        """Call a chunk finished."""
        if rejected:
            self.refusing.append(self.chunks)
        self.chunks += 1
        self.kept += len(rows)
        self.refused += len(rejected)

    def append(self, chunk: Chunk) -> None:
        """Finish a chunk; a record id that was there before is refused."""
        counts, rows, origins, rejected = chunk
        new = self.seen.add([row["record_id"] for row in rows])
        if not new.all():
            again = [
                origin | {"reason": f"record_id {row['record_id']!r} is taken by an earlier record"}
                for row, origin, is_new in zip(rows, origins, new, strict=True)
                if not is_new
            ]
            counts, rows = counts[new], [row for row, is_new in zip(rows, new, strict=True) if is_new]
            rejected = sorted([*rejected, *again], key=lambda row: row["index"])
        data = np.ascontiguousarray(counts, "<i2").tobytes()
        self.write(data)
        lines = b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in (*rows, *rejected))
        said = {"rows": len(rows), "rejected": len(rejected), "crc": zlib.crc32(lines, zlib.crc32(data))}
        with files.new_file(self.lines(self.chunks), durable=False) as file:
            file.write(json.dumps(said).encode() + b"\n" + lines)
        self.count(rows, rejected)

    def pieces(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Say where rows lie: (shard, from byte, to byte)."""
        size, each = self.form.record_bytes, self.form.shard
        for shard in range(first // each, -(-last // each)):
            low, high = max(first - shard * each, 0), min(last - shard * each, each)
            yield shard, HEADER + low * size, HEADER + high * size

    def write(self, data: bytes) -> None:
        """Put samples behind those that count, and wait until the disk has them."""
        done = 0
        for shard, low, high in self.pieces(self.kept, self.kept + len(data) // self.form.record_bytes):
            path = self.folder / shard_name(shard)
            with files.one_line(path):
                path.touch()
                with open(path, "r+b") as file:
                    file.seek(low)
                    file.write(data[done : done + high - low])
                    files.flush(file)
            done += high - low

    def crc(self, first: int, last: int) -> int:
        """Return the checksum of rows as the disk has them."""
        total = 0
        for shard, low, high in self.pieces(first, last):
            path = self.folder / shard_name(shard)
            with open(path, "rb") as file:
                file.seek(low)
                total = zlib.crc32(file.read(high - low), total)
        return total

    def rows(self) -> Iterator[list[Row]]:
        """Yield the lines of what was kept, chunk by chunk."""
        for number in range(self.chunks):
            yield read_lines(self.lines(number))[1]

    def rejected(self) -> Iterator[Row]:
        """Yield the lines of what was refused."""
        for number in self.refusing:
            yield from read_lines(self.lines(number))[2]

    def close(self) -> list[int]:
        """Give the shards their headers; return how many records each holds."""
        sizes = []
        for shard, _, end in self.pieces(0, self.kept):
            records = (end - HEADER) // self.form.record_bytes
            path = self.folder / shard_name(shard)
            with files.one_line(path), open(path, "r+b") as file:
                file.write(header(records, self.form.samples))
                file.truncate(end)
                files.flush(file)
            sizes.append(records)
        return sizes


def header(records: int, samples: int) -> bytes:
    """Return what numpy writes before the samples of a shard."""
    file = io.BytesIO()
    shape = (records, len(LEADS), samples)
    np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
    assert file.tell() == HEADER
    return file.getvalue()


def read_lines(path: Path) -> tuple[Row, list[Row], list[Row], bytes]:
    """Read what a chunk says of itself, what it kept, what it refused, and both as bytes."""
    head, _, lines = path.read_bytes().partition(b"\n")
    said, rows = json.loads(head), [json.loads(line) for line in lines.splitlines()]
    return said, rows[: said["rows"]], rows[said["rows"] :], lines
