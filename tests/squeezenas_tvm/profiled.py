"""Tables of devices with a predictor, by a formula and without a device."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.kernel_models.predictor import Predictor

from .helpers import kernels_of, seconds

BOARD = {"device": "some board", "dtype": "float32", "tvm_target": '{"kind":"cuda","arch":"sm_72"}'}


@cache
def _made() -> tuple[LatencyTable, Predictor]:
    kernels = kernels_of()[::3]
    rows = {k.key: Row("default", 1, tuple(f * seconds(k) for f in (0.9, 1.0, 1.2))) for k in kernels}
    return LatencyTable("any", BOARD, rows), Predictor.fit(kernels, [seconds(k) for k in kernels], BOARD)


def profiled(folder: Path, target: str, *, dtype: str = "float32", predictor: bool = True) -> Path:
    """The folder of a table of some kernels of Small at 64x128."""
    table, fitted = _made()
    fingerprint = {**BOARD, "dtype": dtype}
    replace(table, target=target, fingerprint=fingerprint).save(folder, made_by="a test")
    if predictor:
        replace(fitted, fingerprint=fingerprint).save(folder, made_by="a test")
    return folder
