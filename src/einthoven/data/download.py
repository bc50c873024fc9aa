"""Fetch a public data set: resume what was cut off, verify every file, and do nothing twice."""

import base64
import http.client
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from einthoven.data.files import alone, checksum, one_line, write_text

BASES = {"ptbxl": "https://physionet.org/files/ptb-xl/1.0.3/"}
SUMS = "SHA256SUMS.txt"
JOURNAL = ".verified"  # what was verified: sum, size, time of the last change (ns), path
ATTEMPTS = 6  # in a row that bring nothing
CORRUPT = 3  # whole files with a wrong sum
LONGEST = 20.0  # seconds of waiting before an attempt
TIMEOUT = 30.0  # seconds without a byte
PIECE = 2**16
GONE = (301, 302, 303, 307, 308, 400, 401, 403, 404, 410)  # a second request would be answered the same

Progress = Callable[[int, int], None]


def download(
    name: str,
    folder: Path,
    *,
    base: str = "",
    workers: int = 4,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    pause: float = 0.5,
) -> int:
    """Bring `folder` up to the published data set, and return how many files had to be fetched.

    `only` names folders, such as `("records100",)`; the files beside them (tables, licence) come in
    any case. `base` is another place with the same files. `progress` is told the number of files
    done and in all; `pause` is the wait (seconds) after a failure, doubled for each in a row.
    """
    if name not in BASES:
        raise ValueError(f"No data set {name!r} to download. Known: {', '.join(BASES)}.")
    folder = Path(folder)
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        with Site(base or BASES[name], pause) as site:
            listing = site.listing()
        listed = parse(listing, site.base)
        check_names(only, [path for path, _ in listed], site.base)
        sums = {path: wanted for path, wanted in listed if asked(path, only)}
        fetched = fetch_all(Fetcher(site, folder), sums, workers, progress or (lambda done, total: None))
        if not only:
            write_text(folder / SUMS, listing)  # last: a folder that has it is whole
    return fetched


def parse(listing: str, base: str) -> list[tuple[str, str]]:
    """Read lines of `sum path`; a path that leads out of the folder condemns the whole list."""
    found = []
    for line in filter(None, map(str.strip, listing.splitlines())):
        if not (match := re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(?:\./)?(.+)", line)):
            raise ValueError(f"{base}{SUMS} is no list of SHA-256 sums: it has the line {line[:60]!r}.")
        path = PurePosixPath(match[2])
        outside = path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0-\x1f]", match[2])
        if outside or path.name in ("", JOURNAL):
            raise ValueError(
                f"{base}{SUMS} names {match[2]!r}, a path out of the folder; nothing was fetched."
            )
        found.append((path.as_posix(), match[1].lower()))
    return found


def check_names(only: Sequence[str], paths: Sequence[str], base: str) -> None:
    """Refuse a folder that the list does not have: a slip would fetch little and say that all is well."""
    for name in only:
        if not any(within(path, name) for path in paths):
            known = ", ".join(sorted({path.split("/")[0] for path in paths if "/" in path}))
            raise ValueError(f"{base}{SUMS} lists nothing in {name}. Its folders: {known or 'none'}.")


def within(path: str, folder: str) -> bool:
    """Is this file in that folder, or deeper?"""
    return path.startswith(f"{folder.strip('/')}/")


def asked(path: str, only: Sequence[str]) -> bool:
    """Is this file in one of the folders asked for, or beside them at the top?"""
    return not only or "/" not in path or any(within(path, name) for name in only)


def fetch_all(fetcher: "Fetcher", sums: dict[str, str], workers: int, progress: Progress) -> int:
    """Fetch what is not there, several files at a time; the first failure ends it."""
    todo = [path for path, wanted in sums.items() if not fetcher.journal.knows(path, wanted)]
    done, fetched = len(sums) - len(todo), 0
    progress(done, len(sums))
    pool = ThreadPoolExecutor(max(1, workers), "download")
    try:
        for future in as_completed([pool.submit(fetcher.bring, path, sums[path]) for path in todo]):
            fetched += future.result()
            done += 1
            progress(done, len(sums))
    finally:  # also after Ctrl-C: the parts stay, the next call goes on from there
        fetcher.stop.set()
        pool.shutdown(cancel_futures=True)
        fetcher.close()
    return fetched


class Fetcher:
    """Brings single files, from any thread."""

    def __init__(self, site: "Site", folder: Path):
        self.site, self.folder = site, folder
        self.journal = Journal(folder)
        self.stop = threading.Event()
        self.idle: list[Site] = []  # connections that no thread uses

    def bring(self, path: str, wanted: str) -> bool:
        """Make sure that a file is there and has the right sum; return whether it had to be fetched."""
        target = self.folder / path
        if not target.parent.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{target.parent} is a link that leads out of {self.folder}.")
        fresh = not (target.is_file() and checksum(target) == wanted)
        if fresh:
            with one_line(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            spare = self.spare()
            try:
                self.fetch(spare, path, wanted, target)
            finally:
                self.idle.append(spare)
        self.journal.add(path, wanted)
        return fresh

    def spare(self) -> "Site":
        """Take an idle connection, or prepare a new one."""
        try:
            return self.idle.pop()
        except IndexError:
            return Site(self.site.base, self.site.pause)

    def close(self) -> None:
        """Hang up; for when no thread is at work any more."""
        for site in self.idle:
            site.close()

    def fetch(self, site: "Site", path: str, wanted: str, target: Path) -> None:
        """Fetch into a `.part` until its sum is right; give up only where nothing moves any more."""
        part = target.with_name(f"{target.name}.part")
        failures, corrupt, best = 0, 0, size(part)
        while True:
            try:
                self.receive(site, path, part)
            except (OSError, http.client.HTTPException) as error:
                site.close()
                failures = 1 if size(part) > best else failures + 1
                best = max(best, size(part))
                if failures == ATTEMPTS or self.stop.is_set():
                    raise unreachable(site.base + path, error) from error
                self.stop.wait(site.wait(failures))
                continue
            if checksum(part) == wanted:
                with one_line(target):
                    part.replace(target)
                return
            part.unlink()
            corrupt += 1
            if corrupt == CORRUPT:
                raise ValueError(f"{site.base}{path}: the SHA-256 stays wrong after {CORRUPT} downloads.")

    def receive(self, site: "Site", path: str, part: Path) -> None:
        """Append to `part` what it lacks; the server may also begin again. Raise when it ends early."""
        start = size(part)
        response = site.get(path, start)
        if response.status == 416:  # nothing lies beyond what we have: its sum will tell
            site.close()
            return
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another part than asked for")
        left = response.length
        with one_line(part), part.open("ab" if resumed else "wb") as file:
            while piece := self.piece(response):
                file.write(piece)
                left = None if left is None else left - len(piece)
        if left:
            raise ConnectionError(f"the connection ended {left:,} bytes early")

    def piece(self, response: http.client.HTTPResponse) -> bytes:
        """Read on, unless all is over."""
        if self.stop.is_set():
            raise ConnectionAbortedError("stopped")
        try:
            return response.read(PIECE)
        except OSError as error:  # of the network: not for whoever watches the disk
            raise http.client.HTTPException(str(error)) from error


class Site:
    """One connection to the folder `base` of a server, kept open from file to file."""

    def __init__(self, base: str, pause: float):
        self.base = base.rstrip("/") + "/"
        self.pause = pause
        self.connection: http.client.HTTPConnection | None = None
        if urlsplit(self.base).scheme not in ("http", "https"):
            raise ValueError(f"{base!r} is no http or https address.")

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def wait(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row (seconds)."""
        return float(min(self.pause * 2 ** (failures - 1), LONGEST))

    def connect(self) -> http.client.HTTPConnection:
        """Connect to the server, or to the proxy that the environment names."""
        url = urlsplit(self.base)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        host = url.hostname or ""
        named = urllib.request.getproxies().get(url.scheme)
        if not named or urllib.request.proxy_bypass(host):
            return kind(host, url.port, timeout=TIMEOUT)
        proxy = urlsplit(named if "//" in named else f"//{named}")
        connection = kind(proxy.hostname or "", proxy.port or 8080, timeout=TIMEOUT)
        known = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}" if proxy.username else ""
        secret = (
            {"Proxy-Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"} if known else {}
        )
        connection.set_tunnel(host, url.port or kind.default_port, secret)
        return connection

    def get(self, path: str, start: int = 0) -> http.client.HTTPResponse:
        """Ask for a file from byte `start` on; what will not pass by itself is a ValueError."""
        self.connection = self.connection or self.connect()
        headers = {"User-Agent": "einthoven", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        self.connection.request("GET", urlsplit(self.base).path + quote(path), headers=headers)
        response = self.connection.getresponse()
        if response.status in (200, 206) or (response.status == 416 and start):
            return response
        self.close()
        moved = response.headers.get("Location", "")
        if response.status in GONE:
            to = f", moved to {moved}" if moved else ""
            raise ValueError(f"{self.base}{path}: the server says {response.status} {response.reason}{to}.")
        raise ConnectionError(f"{response.status} {response.reason}")

    def listing(self) -> str:
        """Return the list of sums."""
        failures = 0
        while True:
            try:
                return self.get(SUMS).read().decode("utf-8", "replace")
            except (OSError, http.client.HTTPException) as error:
                self.close()
                failures += 1
                if failures == ATTEMPTS:
                    raise unreachable(self.base, error) from error
                time.sleep(self.wait(failures))


class Journal:
    """Remembers which files were verified, so that a second call need not read them again."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / JOURNAL
        self.lock = threading.Lock()
        self.seen: dict[str, tuple[str, ...]] = {}
        text = ""
        with suppress(FileNotFoundError):
            text = self.path.read_text("utf-8", "replace")
        for line in text.splitlines():
            *facts, path = line.split("\t", 3)
            self.seen[path] = tuple(facts)
        self.torn = bool(text) and not text.endswith("\n")  # killed in the middle of a line

    def facts(self, path: str, wanted: str) -> tuple[str, ...]:
        """Return the line of a verified file as it is now."""
        now = (self.folder / path).stat()
        return wanted, str(now.st_size), str(now.st_mtime_ns)

    def knows(self, path: str, wanted: str) -> bool:
        """Is a file there, unchanged since it was verified against this very sum?"""
        try:
            return path in self.seen and self.seen[path] == self.facts(path, wanted)
        except OSError:
            return False

    def add(self, path: str, wanted: str) -> None:
        """Note that a file is verified."""
        line = "\t".join((*self.facts(path, wanted), path)) + "\n"
        with self.lock, one_line(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}" if self.torn else line)
            self.torn = False


def size(path: Path) -> int:
    """Return the length of a file, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def unreachable(where: str, error: Exception) -> ValueError:
    """Say in one line that the network failed, and what to do."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
        f"Cannot fetch {where} ({reason}). Check the network, then repeat the command: it resumes."
    )
