import pytest

from cost_models.database.records import Trial
from cost_models.profiling.status import Work


def test_work_counts_trials_and_what_they_cost() -> None:
    work = Work()
    assert work.best_s is None
    work.count(Trial(schedule="a", error="no", build_s=1.0))
    assert (work.trials, work.valid, work.best_s) == (1, 0, None)
    for samples_s in ((2.0, 3.0, 4.0), (1.0, 1.5, 9.0), (5.0,)):
        work.count(Trial(schedule="b", samples_s=samples_s, build_s=0.5, upload_s=0.25, run_s=2.0))
    assert (work.trials, work.valid, work.best_s) == (4, 3, 1.5)
    assert (work.build_s, work.upload_s, work.run_s) == pytest.approx((2.5, 0.75, 6.0))
