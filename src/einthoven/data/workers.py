"""Convert records in several processes that know nothing of the caller's own program."""

import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

from einthoven.data.convert import Chunk, Form, convert
from einthoven.ecg import Source

Span = tuple[int, int]
WORKER = "import sys; sys.path[:] = {path!r}; from einthoven.data.workers import work; work()"


class Workers:
    """Processes that convert ranges of records. They know nothing of the caller's own program.

    Plain subprocesses, where multiprocessing would run the caller's script again in each of them (and
    load its torch). One that loses its parent finds its pipe closed and ends.
    """

    def __init__(self, source: Source, form: Form, number: int):
        if type(source).__module__ == "__main__":
            raise ValueError(
                f"Workers cannot load {type(source).__name__} from a script: "
                "move it to a module, or take workers = 0."
            )
        hello = pickle.dumps((source, form))
        self.all: list[subprocess.Popen[bytes]] = []
        self.idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self.threads = ThreadPoolExecutor(number)
        for _ in range(number):
            self.all.append(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER.format(path=sys.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    start_new_session=True,  # Ctrl-C is for the parent, which ends them
                )
            )
        for worker in self.all:
            self.threads.submit(self.greet, worker, hello)

    def greet(self, worker: subprocess.Popen[bytes], hello: bytes) -> None:
        """Hand over the source (in a thread: it may be larger than a pipe holds)."""
        with suppress(OSError):  # one that has ended already is found out by `ask`
            assert worker.stdin
            worker.stdin.write(hello)
        self.idle.put(worker)

    def ask(self, span: Span) -> Chunk:
        """Let the next idle worker convert a range."""
        worker = self.idle.get()
        assert worker.stdin and worker.stdout
        try:
            pickle.dump(span, worker.stdin)
            worker.stdin.flush()
            chunk: Chunk = pickle.load(worker.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as gone:
            code = worker.wait()
            if code < 0:
                raise ValueError(
                    f"A worker was killed (signal {-code}), perhaps for lack of memory: take fewer workers; "
                    "the same command goes on."
                ) from gone
            raise RuntimeError(f"A worker ended at records {span}; its own words stand above.") from gone
        finally:
            self.idle.put(worker)
        return chunk

    def ordered(self, spans: Iterable[Span]) -> Iterator[Chunk]:
        """Yield the chunks in order, with a few more under way."""
        waiting: deque[Future[Chunk]] = deque()
        for span in spans:
            waiting.append(self.threads.submit(self.ask, span))
            if len(waiting) > 2 * len(self.all):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them, whatever they do."""
        for worker in self.all:
            worker.kill()
        self.threads.shutdown(cancel_futures=True)
        for worker in self.all:
            assert worker.stdin and worker.stdout
            with suppress(OSError):
                worker.stdin.close()
            worker.stdout.close()
            worker.wait()


def work() -> None:
    """Be a worker: ranges come in, chunks go out, until the other side is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a source prints must not meet the answers
    with suppress(EOFError, BrokenPipeError):
        source, form = pickle.load(sys.stdin.buffer)
        while True:
            chunk = convert(source, form, *pickle.load(sys.stdin.buffer))
            pickle.dump(chunk, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()
    os._exit(0)  # nothing is left to be written


def convert_all(
    source: Source, form: Form, spans: Iterable[Span], workers: int
) -> Generator[Chunk, None, None]:
    """Convert ranges in order, here or in other processes: the chunks are the same."""
    if not workers:
        yield from (convert(source, form, *span) for span in spans)
        return
    with Workers(source, form, workers) as team:
        yield from team.ordered(spans)
