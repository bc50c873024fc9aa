"""Who is trained on, who is chosen on, who is tested on: whole patients, never in two splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from einthoven.parts import call

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Rule:
    """How a recipe's [split] divides records.

    `by = "fold"`: the official folds of the store. `by = "patient"`: patients drawn by `seed` in
    the given `shares`, stratified by label. `by = "auto"`: folds where every record has one.

    `keep` is the share of the training patients to learn from, drawn by `draw`; a smaller share is part
    of a larger one. `thin` does so for a subgroup: `{column = "sex", equal = "female", keep = 0.05}`, or
    `{column = "age", least = 75, keep = 0.05}`; everybody else stays.
    """

    by: Literal["auto", "fold", "patient"] = "auto"
    train: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8)
    validation: Sequence[int] = (9,)
    test: Sequence[int] = (10,)
    shares: Sequence[float] = (0.8, 0.1, 0.1)
    seed: int = 0
    draw: int = 0
    keep: float = 1.0
    thin: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if len(self.shares) != 3 or min(self.shares) <= 0:
            raise ValueError(f"[split] shares are three numbers above 0, got {list(self.shares)}.")
        if not 0 < self.keep <= 1:
            raise ValueError(f"[split] keep is a share of the training patients, above 0; got {self.keep:g}.")


@dataclass(frozen=True)
class Split:
    """Rows of the store, in rising order."""

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]
    by: str

    def named(self) -> dict[str, Int[np.ndarray, " row"]]:
        """Return the three by name."""
        return {name: getattr(self, name) for name in NAMES}


def patients_named(records: pd.DataFrame) -> bool:
    """Say whether any record has a patient id of its own; otherwise each counts as its own patient."""
    return bool((records["patient_id"] != records["record_id"]).any())


def divide(
    records: pd.DataFrame, rows: Int[np.ndarray, " row"], truth: Float[np.ndarray, "row label"], rule: Rule
) -> Split:
    """Divide rows of a store; `truth` (NaN unknown) is theirs, for stratification."""
    patient = records["patient_id"].to_numpy(dtype=object)[rows]
    has_folds = "fold" in records and not records["fold"].iloc[rows].isna().any()
    if rule.by == "fold" and not has_folds:
        raise ValueError("[split] by = 'fold', but some records have no fold; use by = 'patient'.")
    if rule.by == "patient" or not has_folds:
        side = by_patient(patient, truth, rule)
        how = f"patients, seed {rule.seed}"
    else:
        fold = records["fold"].iloc[rows].to_numpy(dtype=np.int64)
        side = np.full(len(rows), -1)
        for number, name in enumerate(NAMES):
            side[np.isin(fold, list(getattr(rule, name)))] = number
        how = "folds of the store"
    refuse_leaks(patient, side)
    taught = np.flatnonzero(side == 0)
    side[taught[~kept(records.iloc[rows[taught]], patient[taught], rule)]] = -1
    parts = [rows[side == number] for number in range(3)]
    for name, part in zip(NAMES, parts, strict=True):
        if not len(part):
            raise ValueError(
                f"The {name} split has no record: {len(rows)} labelled ones of {len(set(patient))} patients "
                f"were divided by {how}."
            )
    return Split(parts[0], parts[1], parts[2], how)


@dataclass(frozen=True, kw_only=True)
class Thin:
    """A subgroup to keep a share of: those whose `column` is `equal`, or at least `least`."""

    column: str
    keep: float
    equal: str | float | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        if (self.equal is None) == (self.least is None) or not 0 <= self.keep <= 1:
            raise ValueError("[split.thin] needs a column, keep (0 to 1), and either equal or least.")

    def group(self, records: pd.DataFrame) -> Bool[np.ndarray, " record"]:
        """Say who is in the subgroup; who is unknown is not."""
        if self.column not in records:
            known = ", ".join(map(str, records.columns))
            raise ValueError(f"[split.thin] no column {self.column!r} in the store. Known: {known}.")
        values = records[self.column]
        if self.least is None:
            return np.array([value == self.equal for value in values], dtype=bool)
        number = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan)
        return np.asarray(number >= self.least)


def kept(records: pd.DataFrame, patient: np.ndarray, rule: Rule) -> Bool[np.ndarray, " row"]:
    """Say which training records `keep` and `thin` leave: whole patients."""
    stay = drawn(patient, np.ones(len(patient), dtype=bool), rule.keep, rule.draw)
    if rule.thin is None:
        return stay
    thin: Thin = call(Thin, rule.thin, where="split.thin")
    group = thin.group(records)
    return np.asarray(stay & (~group | drawn(patient, group, thin.keep, rule.draw)))


def drawn(
    patient: np.ndarray, group: Bool[np.ndarray, " row"], share: float, seed: int
) -> Bool[np.ndarray, " row"]:
    """Draw a share of the patients of a group; a smaller share is part of a larger one."""
    who, owner = np.unique(patient.astype(str), return_inverse=True)
    member = np.zeros(len(who), dtype=bool)
    member[owner[group]] = True
    luck = np.where(member, np.random.default_rng((seed, 0x5EED)).random(len(who)), np.inf)
    chosen = np.zeros(len(who), dtype=bool)
    chosen[np.argsort(luck)[: round(share * member.sum())]] = True
    return np.asarray(chosen[owner] & group)


def refuse_leaks(patient: np.ndarray, side: Int[np.ndarray, " row"]) -> None:
    """Refuse a patient who stands in two splits."""
    seen = pd.DataFrame({"patient": patient, "side": side})[side >= 0].drop_duplicates()
    twice = seen.loc[seen["patient"].duplicated(), "patient"].tolist()
    if twice:
        both = [NAMES[s] for s in sorted(seen.loc[seen["patient"] == twice[0], "side"])]
        raise ValueError(
            f"Patient {twice[0]!r} stands in {' and '.join(both)} ({len(twice)} such patients): "
            "the test would not be honest. Use [split] by = 'patient', or mend the folds."
        )


def by_patient(
    patient: np.ndarray, truth: Float[np.ndarray, "row label"], rule: Rule
) -> Int[np.ndarray, " row"]:
    """Give each patient to the split that most lacks the patient's rarest label.

    The rarest label first, as in Sechidis et al. 2011 (doi:10.1007/978-3-642-23808-6_10), with
    patients in the place of samples.
    """
    _, owner = np.unique(patient.astype(str), return_inverse=True)
    count = owner.max() + 1
    positive = np.nan_to_num(np.column_stack([strata(truth), np.ones(len(truth))]))
    have = np.zeros((count, positive.shape[1]))
    np.add.at(have, owner, positive)
    share = np.array(rule.shares) / np.sum(rule.shares)
    lack = np.outer(share, have.sum(0))
    total = have.sum(0)
    rarest = np.where(have > 0, total, np.inf).argmin(1)
    chance = np.random.default_rng(rule.seed).random(count)
    side = np.empty(count, dtype=np.int64)
    for who in np.lexsort((chance, -have.sum(1), total[rarest])):
        wish = lack[:, rarest[who]] + 1e-3 * lack[:, -1] / max(total[-1], 1)
        side[who] = int(wish.argmax())
        lack[side[who]] -= have[who]
    return side[owner]


def strata(truth: Float[np.ndarray, "row label"]) -> Float[np.ndarray, "row stratum"]:
    """Return labels as they are, and numbers as quarters of their range of ranks."""
    if np.isin(truth[~np.isnan(truth)], (0, 1)).all():
        return truth
    rank = pd.Series(truth[:, 0]).rank(pct=True).to_numpy()
    return np.column_stack([(rank > low) & (rank <= low + 0.25) for low in (0, 0.25, 0.5, 0.75)]).astype(
        float
    )
