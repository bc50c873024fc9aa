"""ECGs that are made up: a moving heart dipole, nine electrodes, and a reader with human slips.

No patient is behind any of them. They try out code and teach people; they train no clinical model.
"""

from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.synthesis.anatomy import build_of
from einthoven.data.synthesis.cohort import Visit, dice, draw_visit
from einthoven.data.synthesis.electrodes import field_of, noise_of, record_leads
from einthoven.data.synthesis.heart import Heartbeats, run_heart
from einthoven.data.synthesis.reports import write_context, write_report
from einthoven.data.synthesis.statements import SUPERCLASS, read_statements
from einthoven.ecg import LEADS, Record, Source

__all__ = ["Synthetic"]


class Synthetic(Source):
    """A made-up cohort of any size; `path` is not read.

    Record `index` is a pure function of (seed, index, hertz, seconds): any part can be made anywhere,
    in any order, and `records` only says where to stop. The same heart beats at every `hertz`.
    """

    synthetic = True
    rates = True
    title = "einthoven synthetic cohort (made-up ECGs)"

    def __init__(
        self,
        path: Path | None = None,
        *,
        records: int = 2000,
        hertz: float = 100.0,
        seconds: float = 10.0,
        seed: int = 0,
    ):
        if records < 1:
            raise ValueError(f"The synthetic cohort needs records of 1 and up, got {records}.")
        if not 50 <= hertz <= 2000:
            raise ValueError(
                f"The synthetic cohort samples at 50 to 2000 Hz, got hertz = {hertz:g}; an import to another "
                "rate resamples what --set hertz=100 makes."
            )
        if not 2 <= seconds <= 3600:
            raise ValueError(f"Synthetic ECGs last 2 to 3600 s, got seconds = {seconds:g}.")
        self.records, self.hertz, self.seconds, self.seed = records, hertz, seconds, seed

    def __len__(self) -> int:
        """Return the number of records."""
        return self.records

    def label(self, index: int) -> str:
        """Return the id of a record, which says that it is made up."""
        return f"synthetic-{self.seed}-{index:06d}"

    def read(self, index: int) -> Record:
        """Make one record: the patient, a visit, the heartbeats, the leads, and what a reader says."""
        visit = draw_visit(self.seed, index)
        rng = dice(self.seed, "record", index)
        bulk = np.random.Generator(np.random.SFC64(rng.getrandbits(64)))
        build = build_of(self.seed, visit.patient.number)
        beats = run_heart(visit, build, self.seconds, rng, bulk)
        signal = record_leads(
            beats.waves,
            field_of(build.body, bulk),
            noise_of(self.seconds, beats.breath, bulk),
            hertz=self.hertz,
            samples=round(self.hertz * self.seconds),
            rng=bulk,
        )
        return Record(
            record_id=self.label(index),
            patient_id=f"synthetic-{self.seed}-p{visit.patient.number:06d}",
            signal=signal,
            leads=LEADS,
            hertz=float(self.hertz),
            row=self.row(index, visit, beats),
        )

    def row(self, index: int, visit: Visit, beats: Heartbeats) -> dict[str, Any]:
        """Return what is known beside the signal: what a reader saw, and true values to regress."""
        reader = dice(self.seed, "reader", index)
        statements = read_statements(visit, beats, reader)
        superclasses = {SUPERCLASS[code] for code in statements if code in SUPERCLASS}
        grades = {code: visit.grade(code) or 1.0 for code in statements}
        return {
            "age": round(visit.age, 1),
            "sex": visit.patient.sex,
            "fold": visit.patient.fold,
            "report": write_report(grades, superclasses, beats.axis, reader),
            "context": write_context(dice(self.seed, "desk", index)),
            "superdiag": sorted(superclasses),
            "statements": statements,
            "rhythm": [statements[-1]],
            "pcwp": visit.pcwp,
            "heart_rate": round(beats.rate, 1),
            "qrs_ms": round(beats.qrs, 1),
        }
