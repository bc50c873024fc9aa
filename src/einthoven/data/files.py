"""Write files whole or not at all, and say in one line what the disk refuses."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn what a disk may refuse while `path` is written into one line for its owner."""
    try:
        yield
    except OSError as refused:
        if refused.errno in FULL:
            raise ValueError(
                f"The disk is full while writing {path}: free some space, then the same command goes on "
                "(a training: with --resume)."
            ) from refused
        if refused.errno in REFUSED:
            raise ValueError(f"Cannot write {path} ({refused.strerror}): choose another place.") from refused
        raise


def make_folder(path: Path) -> None:
    """Make a folder, or say in one line, before any work, that nothing can be written there."""
    with one_line(path):
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass


@contextmanager
def new_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when the block ends well, and not at all otherwise.

    It is on the disk, not only in its cache, before it gets its name: a power cut leaves the old
    file or the new one (not `durable`: perhaps a torn one, for files that are checked when read). What
    a killed process leaves behind is overwritten by the next attempt.
    """
    unfinished = path.with_name(f".{path.name}.partial")
    with one_line(path):
        try:
            with open(unfinished, "wb") as file:
                yield file
                if durable:
                    flush(file)
            os.replace(unfinished, path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        if durable:
            flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file."""
    with new_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, for people and programs; equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def whole(file: Path, remedy: str) -> Iterator[None]:
    """Say in one line that a file of a run folder cannot be read, and what to do."""

    def damaged(how: str) -> ValueError:
        return ValueError(f"{file.parent} is damaged ({file.name} {how}): {remedy}.")

    try:
        yield
    except FileNotFoundError as lost:
        raise damaged("is missing") from lost
    except (LookupError, TypeError, AttributeError) as gap:
        raise damaged(f"lacks something: {gap}") from gap
    except (OSError, ValueError) as wrong:
        raise damaged("cannot be read") from wrong


def read_json(file: Path, *keys: str, remedy: str = "restore it, or train that run again") -> Any:
    """Read a JSON file of a run folder, or what stands in it under `keys`, one inside the other."""
    with whole(file, remedy):
        return reduce(getitem, keys, json.loads(file.read_text(encoding="utf-8")))


def flush(file: IO[bytes]) -> None:
    """Wait until the disk has what was written."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder (Windows keeps them by itself)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second writer out of a folder; the claim ends with the process, however that ends."""
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as taken:
        raise ValueError(f"Another process is writing {folder}: wait until it has finished.") from taken
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
