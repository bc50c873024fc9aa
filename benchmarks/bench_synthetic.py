"""Make synthetic ECGs in one process and print how many a second.

python benchmarks/bench_synthetic.py [RECORDS] [HERTZ]
"""

import sys
import time

from einthoven.data.sources.synthetic import Synthetic


def main(records: int = 2000, hertz: float = 100.0) -> None:
    source = Synthetic(records=records, hertz=hertz)
    source.read(0)  # compiles the kernels, or loads them compiled
    start, ran = time.perf_counter(), time.process_time()
    made = sum(1 for _ in source.read_many(0, records))
    seconds, busy = time.perf_counter() - start, time.process_time() - ran
    print(f"{made} records of 12 x {round(10 * hertz)}: {made / seconds:,.0f} ECGs/s, one process")
    print(f"{made / busy:,.0f} ECGs/s of processor time")


if __name__ == "__main__":
    main(*(float(word) if "." in word else int(word) for word in sys.argv[1:]))
