"""Latency of kernels that nobody measured, on a device where others were.

Seconds are ``base(kernel) * exp(correction)``. The base is a sum of work that grows with the kernel; the
correction is learned by boosted trees (Chen and Guestrin, "XGBoost: a scalable tree boosting system", KDD
2016), robustly, since single kernels scatter with the luck of their tuning. The trees see what sizes do not
change (window, stride, what is fused); sizes only where that pays on kernels of other sizes, and are then
held to never fall with them. So no prediction falls when channels or pixels are added and all else stays.

Residuals are those of the base fitted to the same kernels: taken from bases fitted without them they would be
more honest, and worse, since a base that never saw a rare class is wrong about it as the final one is not.
Errors, settings and intervals come from kernels that neither base nor trees had seen.

A folder keeps a predictor: ``residual.json`` is XGBoost's own format, ``predictor.json`` everything else.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xgboost

from cost_models.database.environment import differences
from cost_models.errors import CostModelError, IncompatiblePredictor
from cost_models.estimate import Estimate, outside
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.features import FEATURES, FEATURES_VERSION, Machine, Vector, matrix
from cost_models.kernel_models.intervals import (
    SIZES,
    Groups,
    Intervals,
    Place,
    coordinates,
    distances,
    families,
)
from cost_models.kernel_models.tree_text import check_trees
from cost_models.kernel_models.work_model import Base
from targets.support.document import DocumentWithFiles
from targets.support.text import brief

_WITHOUT_COMPARED = 2  # version of the features
TREES, MANIFEST = "residual.json", "predictor.json"
LEAST_KERNELS = 10

_FIXED = tuple(name for name, feature in FEATURES.items() if feature.trend == "fixed")
_CHOICES = tuple(product((_FIXED, tuple(FEATURES)), (3, 5)))  # features seen, depth: the simplest first
_ROUNDS = (0, 15, 30, 60)
_BOOSTING = {
    "objective": "reg:pseudohubererror",
    "huber_slope": 0.1,  # errors above that share count linearly
    "eta": 0.1,
    "min_child_weight": 0.0,  # in units of that loss's curvature, which is no count of kernels
    "base_score": 0.0,
    "tree_method": "hist",
    "nthread": 1,  # tables are small: threads would cost more than they save
    "seed": 0,
}
_FOLDS = 5
_ODD = 0.5  # errors above it weigh no more when settings are chosen: kernels like no other


@dataclass(frozen=True, slots=True)
class Setting:
    """What is chosen by cross-validation: the features that trees see, their depth and their number."""

    columns: tuple[str, ...]
    depth: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A predictor of one environment. Make it with ``fit``.

    Attributes:
        fingerprint: of the environment that it was measured in.
        counts: kernels that it was fitted to, by kind.
        errors: ``median`` and ``within_10`` on kernels whose channels and map size were left out of the fit:
            the median of relative errors, and the share of errors up to 10 %.
        known: ``intervals.coordinates`` of those kernels, each once.
        foreign: families of kernels among them that are of other people's networks alone.
    """

    fingerprint: Mapping[str, Any]
    machine: Machine
    base: Base
    trees: xgboost.Booster
    intervals: Intervals
    counts: Mapping[str, int]
    errors: Mapping[str, float]
    known: Vector
    foreign: frozenset[str] = frozenset()

    @staticmethod
    def fit(
        kernels: Sequence[Kernel], seconds: Sequence[float], fingerprint: Mapping[str, Any]
    ) -> "Predictor":
        """Learn from measured kernels. Takes seconds; the same rows give the same predictor.

        Args:
            kernels: at least 10, each once.
            seconds: latency of each.
            fingerprint: of their environment, as a latency table holds it.

        Raises:
            CostModelError: too few, one twice, another number of latencies, or one not above 0 and finite.
        """
        _check(kernels, seconds)
        measured = np.array(seconds, dtype=np.float64)
        machine = _machine(kernels, measured, fingerprint)
        table = matrix(kernels, machine)
        by_size, by_program = families(table)
        setting = _choose(table, measured, by_size)
        alone = np.arange(len(kernels))
        left_out = [_left_out(table, measured, groups, setting) for groups in (by_size, by_program, alone)]
        logs, apart = (np.concatenate(side) for side in zip(*left_out, strict=True))
        errors = np.abs(np.expm1(left_out[0][0]))
        base = Base.fit(table, measured)
        return Predictor(
            fingerprint=dict(fingerprint),
            machine=machine,
            base=base,
            trees=_train(table, _residual(base, table, measured), setting),
            intervals=Intervals.calibrate(apart, np.abs(logs)),
            counts=dict(Counter(kernel.kind for kernel in kernels)),
            errors={"median": float(np.median(errors)), "within_10": float(np.mean(errors <= 0.1))},
            known=np.unique(coordinates(table), axis=0),
            foreign=frozenset(kernel.family for kernel in kernels if kernel.is_foreign),
        )

    def predict(self, kernels: Sequence[Kernel]) -> list[Estimate]:
        """One for each kernel; 100,000 take seconds. It is the caller who warns of those that are ``far``."""
        if not kernels:
            return []
        table = matrix(kernels, self.machine)
        medians_s = self.base.predict_s(table) * np.exp(_correction(self.trees, table))
        return self.intervals.estimates(medians_s, distances(coordinates(table), self.known))

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """As ``predict``; None for kernels unlike all that trees can know."""
        told = [not kernel.is_foreign or kernel.family in self.foreign for kernel in kernels]
        known = iter(
            self.predict([kernel for kernel, is_known in zip(kernels, told, strict=True) if is_known])
        )
        return [next(known) if is_known else None for is_known in told]

    def base_s(self, kernels: Sequence[Kernel]) -> list[float]:
        """Seconds by the physical base alone: for kernels unlike all that trees can know."""
        return [float(s) for s in self.base.predict_s(matrix(kernels, self.machine))]

    def digest(self) -> str:
        """Of all that it was fitted to be."""
        told = self._document("", {TREES: self._trees_text()}).model_dump_json()
        return hashlib.sha256(told.encode()).hexdigest()

    def save(self, folder: Path, *, made_by: str) -> None:
        """Write both files. Raises FailedWrite when there is no room, or the place cannot be written."""
        files = {TREES: self._trees_text()}
        self._document(made_by, files).save_with(folder, files)

    def _trees_text(self) -> str:
        return str(self.trees.save_raw("json").decode())

    def _document(self, made_by: str, files: Mapping[str, str]) -> "PredictorDocument":
        return PredictorDocument(
            schema_version=PredictorDocument.SCHEMA,
            features_version=FEATURES_VERSION,
            fingerprint=dict(self.fingerprint),
            made_by=made_by,
            machine=self.machine,
            kernels=dict(self.counts),
            errors=dict(self.errors),
            base=self.base,
            intervals=self.intervals,
            known=[[round(value, 6) for value in row] for row in self.known.tolist()],
            foreign=tuple(sorted(self.foreign)),
            sha256=PredictorDocument.sums(files),
        )

    @staticmethod
    def load(folder: str | Path, *, fingerprint: Mapping[str, Any] | None = None) -> "Predictor":
        """Read a folder that ``save`` wrote.

        Args:
            fingerprint: of the environment it must be for; any when None.

        Raises:
            IncompatiblePredictor: none there, damaged, a newer schema, features of another version, or of
                another environment.
        """
        folder = Path(folder)
        told = PredictorDocument.load(folder / MANIFEST)
        content = told.content(folder, TREES)
        other = [] if fingerprint is None else differences(told.fingerprint, fingerprint)
        if other:
            raise IncompatiblePredictor(
                f"{folder}: fitted in another environment: {', '.join(other)}; "
                "use one of yours, or profile there"
            )
        try:
            check_trees(content)
            trees = xgboost.Booster(model_file=bytearray(content))
        except (ValueError, xgboost.core.XGBoostError) as error:
            raise IncompatiblePredictor(
                f"{folder / TREES}: damaged, no trees ({brief(error)}); {told.AGAIN}"
            ) from None
        return Predictor(
            fingerprint=told.fingerprint,
            machine=told.machine,
            base=told.base,
            trees=trees,
            intervals=told.intervals,
            counts=told.kernels,
            errors=told.errors,
            known=np.array(told.known, dtype=np.float64),
            foreign=frozenset(told.foreign),
        )


@dataclass(frozen=True)
class PhysicalBase:
    """The base of a predictor alone: for kernels unlike all that trees can know, where no prior is there."""

    predictor: Predictor

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """Of foreign ones; of the others the predictor says more."""
        foreign = [kernel for kernel in kernels if kernel.is_foreign]
        medians_s = iter(self.predictor.base_s(foreign))
        return [outside(kernel, next(medians_s)) if kernel.is_foreign else None for kernel in kernels]

    def digest(self) -> str:
        """The predictor's."""
        return self.predictor.digest()


class PredictorDocument(DocumentWithFiles):
    """``predictor.json``; see ``Predictor``. Schema 1 knows no kernels of other people's networks."""

    WHAT: ClassVar[str] = "a predictor"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 2
    REFUSAL = IncompatiblePredictor
    AGAIN: ClassVar[str] = "profile again into the same folder: it is fitted anew from what was measured"
    FILE: ClassVar[str] = MANIFEST

    features_version: int
    fingerprint: dict[str, Any]
    machine: Machine
    kernels: dict[str, int]
    errors: dict[str, float]
    base: Base
    intervals: Intervals
    known: list[Place]
    foreign: tuple[str, ...] = ()

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Without values compared, as of kernels that compare nothing; trees know their columns by name."""
        if raw.get("features_version") != _WITHOUT_COMPARED or not isinstance(raw.get("known"), list):
            return raw
        place = SIZES.index("compared")
        known = [[*row[:place], 0.0, *row[place:]] for row in raw["known"] if isinstance(row, list)]
        return {**raw, "features_version": FEATURES_VERSION, "known": known}

    @classmethod
    def check_raw(cls, raw: Mapping[str, Any], where: str) -> None:
        """Refuses features of another version: its numbers would be of other columns."""
        version = raw.get("features_version")
        if isinstance(version, int) and version not in (_WITHOUT_COMPARED, FEATURES_VERSION):
            raise IncompatiblePredictor(
                f"{where}: features of version {version}, this program has version {FEATURES_VERSION}; "
                f"{cls.AGAIN}"
            )


def _check(kernels: Sequence[Kernel], seconds: Sequence[float]) -> None:
    if len(kernels) < LEAST_KERNELS or len(kernels) != len(seconds):
        raise CostModelError(
            f"a predictor needs at least {LEAST_KERNELS} measured kernels and a latency of each, "
            f"found {len(kernels)} kernels and {len(seconds)} latencies; measure more of them"
        )
    for kernel, value in zip(kernels, seconds, strict=True):
        if not (math.isfinite(value) and value > 0):
            raise CostModelError(
                f"{kernel.key}: latencies must be finite and > 0 s, found {value!r}; leave failures out"
            )
    twice = [key for key, count in Counter(kernel.key for kernel in kernels).items() if count > 1]
    if twice:
        raise CostModelError(f"{twice[0]}: given twice, allowed is one latency a kernel; drop the others")


def _machine(kernels: Sequence[Kernel], seconds: Vector, fingerprint: Mapping[str, Any]) -> Machine:
    """The device, at the best rates that were seen."""
    macs, moved = (np.array([getattr(k, name) for k in kernels]) for name in ("macs", "bytes_moved"))
    macs_per_s = max(float(np.max(macs / seconds)), 1.0)  # there may be no convolution
    return Machine.of(fingerprint, macs_per_s, float(np.max(moved / seconds)))


def _choose(table: Vector, seconds: Vector, groups: Groups) -> Setting:
    """The setting with the least error on groups that were left out; the simplest of equals."""
    settings = [Setting(columns, depth, rounds) for columns, depth in _CHOICES for rounds in _ROUNDS]
    total = np.zeros(len(settings))
    for kept, left in _folds(groups):
        base = Base.fit(table[kept], seconds[kept])
        residual, wanted = (_residual(base, table[rows], seconds[rows]) for rows in (kept, left))
        for start, (columns, depth) in zip(range(0, len(settings), len(_ROUNDS)), _CHOICES, strict=True):
            trees = _train(table[kept], residual, Setting(columns, depth, max(_ROUNDS)))
            for index, rounds in enumerate(_ROUNDS, start):
                errors = np.abs(wanted - _correction(trees, table[left], rounds))
                total[index] += np.sum(np.minimum(errors, _ODD))
    return settings[int(np.argmin(total))]


def _left_out(table: Vector, seconds: Vector, groups: Groups, setting: Setting) -> tuple[Vector, Vector]:
    """Of each kernel, from a fit without its group: ``log(predicted / measured)``, distance to the others."""
    logs, apart = np.zeros(len(table)), np.zeros(len(table))
    for kept, left in _folds(groups):
        base = Base.fit(table[kept], seconds[kept])
        trees = _train(table[kept], _residual(base, table[kept], seconds[kept]), setting)
        logs[left] = _correction(trees, table[left]) - _residual(base, table[left], seconds[left])
        apart[left] = distances(coordinates(table[left]), coordinates(table[kept]))
    return logs, apart


def _folds(groups: Groups) -> Iterator[tuple[Groups, Groups]]:
    """Rows kept and rows left out: every group is left out once, whole; a lone group is taken apart."""
    groups = groups if len(np.unique(groups)) > 1 else np.arange(len(groups))
    names = np.random.default_rng(0).permutation(np.unique(groups))
    for fold in range(min(_FOLDS, len(names))):
        left = np.isin(groups, names[fold::_FOLDS])
        yield np.flatnonzero(~left), np.flatnonzero(left)


def _residual(base: Base, table: Vector, seconds: Vector) -> Vector:
    return np.log(seconds / base.predict_s(table))


def _train(table: Vector, residual: Vector, setting: Setting) -> xgboost.Booster:
    trends = tuple(int(FEATURES[name].trend == "grows") for name in setting.columns)
    parameters = _BOOSTING | {"max_depth": setting.depth, "monotone_constraints": trends}
    trees = xgboost.train(parameters, _data(table, setting.columns, residual), setting.rounds)
    trees.feature_names = list(setting.columns)  # not of the data: they would be compared in every round
    return trees


def _correction(trees: xgboost.Booster, table: Vector, rounds: int | None = None) -> Vector:
    """Logarithm of the factor on the base's seconds, by the first ``rounds`` trees or all."""
    count = trees.num_boosted_rounds() if rounds is None else rounds
    if count == 0:  # XGBoost takes a range that ends at 0 to mean all
        return np.zeros(len(table))
    data = _data(table, trees.feature_names or ())
    found = trees.predict(data, iteration_range=(0, count), validate_features=False)
    return np.asarray(found, dtype=np.float64)


def _data(table: Vector, columns: Sequence[str], label: Vector | None = None) -> xgboost.DMatrix:
    chosen = [list(FEATURES).index(name) for name in columns]
    return xgboost.DMatrix(table[:, chosen], label, nthread=1)
