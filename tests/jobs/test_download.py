"""The download, against a server on this machine that does what bad networks do."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from einthoven.data import download as module
from einthoven.data.download import JOURNAL, SUMS, download, parse

FILES = {
    "LICENSE.txt": b"CC BY 4.0\n",
    "ptbxl_database.csv": b"ecg_id\n" * 5000,
    "empty.txt": b"",
    "records100/00000/00001_lr.dat": np.random.default_rng(1).bytes(300_000),
    "records100/00000/00001_lr.hea": b"00001_lr 12 100 1000\n",
    "records500/00000/00001 hr.dat": np.random.default_rng(2).bytes(200_000),
}
BIG = "records100/00000/00001_lr.dat"


class Server(ThreadingHTTPServer):
    """What it serves, how it misbehaves, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.listing = "".join(f"{hashlib.sha256(x).hexdigest()} {name}\n" for name, x in FILES.items())
        self.asked: list[tuple[str, str]] = []
        self.clients: set[int] = set()
        self.faults: dict[str, list[str]] = {}  # per file, one for each request
        self.ranges = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client hangs up."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/ptb-xl"

    def times(self, name: str) -> int:
        return sum(asked == name for asked, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        server, name = self.server, self.path.removeprefix("/files/ptb-xl/").replace("%20", " ")
        wanted = self.headers.get("Range", "")
        server.asked.append((name, wanted))
        server.clients.add(self.client_address[1])
        body = server.listing.encode() if name == SUMS else server.files.get(name)
        fault = server.faults[name].pop(0) if server.faults.get(name) else ""
        if fault == "refuse":
            self.close_connection = True
            return
        if body is None or fault.isdigit():
            self.send_response(int(fault or 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "corrupt":
            body = b"x" + body[1:]
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if server.ranges else 0
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            first = start - 7 if fault == "elsewhere" else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        part = body[start:]
        if fault.startswith("drop"):
            part = part[: int(fault.split()[1])]
            self.close_connection = True
        self.wfile.write(part)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def fetch(server: Server, folder: Path, **options: object) -> int:
    return download("ptbxl", folder, base=server.base, **({"pause": 0.001} | options))  # type: ignore[arg-type]


def assert_whole(folder: Path) -> None:
    for name, body in FILES.items():
        assert (folder / name).read_bytes() == body
    assert not list(folder.rglob("*.part"))


def test_fetches_verifies_and_does_nothing_twice(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert fetch(server, tmp_path / "new/ptbxl", progress=lambda done, total: seen.append((done, total))) == 6
    assert_whole(tmp_path / "new/ptbxl")
    assert (tmp_path / "new/ptbxl" / SUMS).read_text() == server.listing
    assert seen == [(done, 6) for done in range(7)]
    server.asked.clear()
    seen.clear()
    assert fetch(server, tmp_path / "new/ptbxl", progress=lambda done, total: seen.append((done, total))) == 0
    assert server.asked == [(SUMS, "")] and seen == [(6, 6)]


def test_keeps_connections_open(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path, workers=2)
    assert len(server.asked) == 7 and len(server.clients) <= 3  # two workers, and one for the list


def test_goes_on_where_a_connection_was_dropped(server: Server, tmp_path: Path) -> None:
    server.faults[BIG] = ["drop 100000", "refuse", "drop 50000", "drop 0"]
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    asked = [wanted for name, wanted in server.asked if name == BIG]
    assert asked == ["", "bytes=100000-", "bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_goes_on_with_a_part_of_an_earlier_call(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f"{BIG}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[BIG][:123_456])
    whole = tmp_path / "ptbxl_database.csv.part"
    whole.write_bytes(FILES["ptbxl_database.csv"])  # killed between the last byte and its name
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    assert (BIG, "bytes=123456-") in server.asked and server.times(BIG) == 1
    assert server.times("ptbxl_database.csv") == 1


def test_begins_again_where_the_part_is_not_of_this_file(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f"{BIG}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"y" * 1000)
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    assert [wanted for name, wanted in server.asked if name == BIG] == ["bytes=1000-", ""]


def test_begins_again_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults[BIG] = ["drop 100000", "drop 200000"]
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_does_not_append_another_part_than_it_asked_for(server: Server, tmp_path: Path) -> None:
    server.faults[BIG] = ["drop 100000", "elsewhere"]
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.faults = {SUMS: ["503", "refuse"], BIG: ["503", "429", "500"]}
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_gives_up_where_nothing_moves(server: Server, tmp_path: Path) -> None:
    server.faults[BIG] = ["drop 10", *["drop 0"] * 50]
    with pytest.raises(ValueError, match=r"Cannot fetch .*00001_lr\.dat .*it resumes") as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value) and server.times(BIG) == 1 + module.ATTEMPTS - 1
    assert not (tmp_path / BIG).exists() and not (tmp_path / SUMS).exists()
    server.faults.clear()
    fetch(server, tmp_path)  # and the next call brings the rest
    assert_whole(tmp_path)


def test_a_dropping_server_without_ranges_does_not_hold_us_for_ever(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults[BIG] = [f"drop {n}" for n in (200, 100) * 50]  # longer and shorter by turns
    with pytest.raises(ValueError, match="Cannot fetch"):
        fetch(server, tmp_path)
    assert server.times(BIG) <= 2 * module.ATTEMPTS


def test_a_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.faults[BIG] = ["corrupt", "drop 1000", "corrupt"]
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    server.files[BIG] = b"z" * len(FILES[BIG])
    (tmp_path / BIG).unlink()
    with pytest.raises(ValueError, match=r"00001_lr\.dat: the SHA-256 stays wrong after 3 downloads"):
        fetch(server, tmp_path)
    assert not (tmp_path / BIG).exists()


def test_what_is_there_is_verified_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(body)
    (tmp_path / BIG).write_bytes(b"z" * len(FILES[BIG]))  # as long, and wrong
    assert fetch(server, tmp_path) == 1
    assert_whole(tmp_path)
    hashed: list[Path] = []
    monkeypatch.setattr(module, "checksum", lambda path: hashed.append(path) or "0")
    assert fetch(server, tmp_path) == 0 and hashed == []


def test_a_file_that_changed_after_it_was_verified_is_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    (tmp_path / BIG).write_bytes(b"z" * len(FILES[BIG]))
    (tmp_path / "LICENSE.txt").unlink()
    assert fetch(server, tmp_path) == 2
    assert_whole(tmp_path)


def test_a_journal_cut_off_in_a_line_costs_one_more_look(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-5])
    assert fetch(server, tmp_path) == 0
    assert fetch(server, tmp_path) == 0
    lines = journal.read_text().splitlines()
    assert len(lines) == 7 and all(line.count("\t") == 3 for line in lines)


def test_only_a_part_of_it(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, only=("records100",)) == 5
    assert not (tmp_path / "records500").exists() and not (tmp_path / SUMS).exists()
    assert fetch(server, tmp_path) == 1
    assert_whole(tmp_path)


def test_each_name_is_looked_up(server: Server, tmp_path: Path) -> None:
    for only in (("record100",), ("records100", "record500"), ("records1",)):
        with pytest.raises(ValueError, match=r"lists nothing in record.*: records100, records500") as slip:
            fetch(server, tmp_path, only=only)
        assert "\n" not in str(slip.value) and not list(tmp_path.iterdir())
    assert fetch(server, tmp_path, only=("records100/00000", "records500/")) == 6


def test_two_downloads_do_not_write_one_folder(server: Server, tmp_path: Path) -> None:
    refused: list[str] = []

    def second(done: int, total: int) -> None:
        with pytest.raises(ValueError, match="Another process is writing") as said:
            fetch(server, tmp_path)
        refused.append(str(said.value))

    fetch(server, tmp_path, progress=second)
    assert_whole(tmp_path)
    assert len(refused) == 7


@pytest.mark.parametrize(
    "path", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:/evil", f"a/{JOURNAL}", "a/\x07"]
)
def test_a_path_out_of_the_folder_is_refused(server: Server, tmp_path: Path, path: str) -> None:
    server.listing += f"{'0' * 64} {path}\n"
    with pytest.raises(ValueError, match="a path out of the folder; nothing was fetched"):
        fetch(server, tmp_path / "in")
    assert server.asked == [(SUMS, "")] and [p.name for p in tmp_path.rglob("*")] == ["in"]


def test_a_link_out_of_the_folder_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/records100").symlink_to(tmp_path / "out", target_is_directory=True)
    with pytest.raises(ValueError, match="a link that leads out of"):
        fetch(server, tmp_path / "in")
    assert not list((tmp_path / "out").iterdir())


def test_mistakes_are_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No data set 'ptb'.*Known: ptbxl"):
        download("ptb", tmp_path)
    with pytest.raises(ValueError, match="no http or https address"):
        download("ptbxl", tmp_path, base="ftp://x")
    with pytest.raises(ValueError, match="lists nothing in records9"):
        server.listing = "".join(server.listing.splitlines(keepends=True)[3:])
        fetch(server, tmp_path, only=("records9",))
    server.listing = "<html>\n"
    with pytest.raises(ValueError, match="is no list of SHA-256 sums: it has the line '<html>'"):
        fetch(server, tmp_path)
    with pytest.raises(ValueError, match=r"/other/SHA256SUMS\.txt: the server says 404"):
        download("ptbxl", tmp_path, base=server.base.replace("files", "other/files").rpartition("/files")[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Cannot write"):
        fetch(server, tmp_path / "file")


def test_no_network_is_one_line(tmp_path: Path, server: Server) -> None:
    base = server.base.replace(str(server.server_port), "1")  # nothing listens there
    with pytest.raises(ValueError, match=r"Cannot fetch http://127\.0\.0\.1:1/.*Check the network") as caught:
        download("ptbxl", tmp_path, base=base, pause=0.001)
    assert "\n" not in str(caught.value)


def test_ctrl_c_leaves_what_the_next_call_needs(server: Server, tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, progress=interrupt, workers=1)
    assert not (tmp_path / SUMS).exists()
    assert 0 < fetch(server, tmp_path) <= 4
    assert_whole(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "records100/00000").mkdir(parents=True)
    (tmp_path / f"{BIG}.part").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"The disk is full while writing .*00001_lr\.dat\.part"):
        fetch(server, tmp_path)


def test_goes_through_a_proxy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(f"{self.path} {self.headers['Proxy-Authorization']}")
            self.send_error(403, "not you")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ValueError, match="403"):
        download("ptbxl", tmp_path, base="https://physionet.invalid/x", pause=0.0)
    proxy.shutdown()
    thread.join()
    proxy.server_close()
    assert asked[0] == "physionet.invalid:443 Basic bWU6cEBzcw=="


def test_reads_lists_as_sha256sum_writes_them() -> None:
    sums = "A" * 64
    assert parse(f"{sums}  ./a b/c.dat\n\n{sums} *d.dat\n", "x/") == [
        ("a b/c.dat", "a" * 64),
        ("d.dat", "a" * 64),
    ]
