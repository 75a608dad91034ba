"""Where a run of the profiler stands, and what each kernel cost: for displays and reports. No TVM."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from cost_models.database.records import Trial
from cost_models.ir.fusion import Kernel


@dataclass
class Work:
    """What the search of one kernel took in this run, in seconds.

    Attributes:
        trials, valid: new ones, and how many of them ran.
        sampling_s, evolution_s: proposing.
        build_s: compiling and linking, summed over processes.
        upload_s, run_s: on boards, summed over them.
        best_s: its fastest new trial; None without one.
    """

    trials: int = 0
    valid: int = 0
    sampling_s: float = 0.0
    evolution_s: float = 0.0
    build_s: float = 0.0
    upload_s: float = 0.0
    run_s: float = 0.0
    best_s: float | None = None

    def count(self, trial: Trial) -> None:
        """Add one trial."""
        self.trials += 1
        self.build_s += trial.build_s
        self.upload_s += trial.upload_s
        self.run_s += trial.run_s
        if trial.error is None:
            self.valid += 1
            self.best_s = min(self.best_s or trial.median_s, trial.median_s)


@dataclass
class Status:
    """Where a run stands; read by whoever shows it, from another thread.

    Attributes:
        phase: what is going on.
        done, total: kernels that this run is through with, of how many.
        timed, timings: careful timings done, of how many that are known to come.
        trials, planned: searched so far, of how many that are known to come.
        work: by kernel.
    """

    phase: str = "starting"
    done: int = 0
    total: int = 0
    timed: int = 0
    timings: int = 0
    trials: int = 0
    planned: int = 0
    work: dict[Kernel, Work] = field(default_factory=dict)
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def begin(self, kernels: Iterable[Kernel]) -> None:
        """Count anew, for these kernels."""
        self.work = {kernel: Work() for kernel in kernels}
        self.phase, self.total = "starting", len(self.work)
        self.done = self.timed = self.timings = self.trials = self.planned = 0

    def count(self, kernel: Kernel, trial: Trial) -> None:
        """Add one trial; from any thread."""
        with self._counting:
            self.trials += 1
            self.work[kernel].count(trial)
