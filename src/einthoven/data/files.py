"""Write files whole or not at all, and say in one line what the disk refuses."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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
