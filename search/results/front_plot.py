"""The picture of a front: accuracy over cost."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from targets.support.files import write_whole

_AXES = {
    "latency": ("estimated latency (ms)", 1e-3),
    "macs": ("GMACs", 1e9),
    "params": ("million parameters", 1e6),
    "memory": ("memory of feature maps (MiB)", 2**20),
    "bytes": ("MiB moved", 2**20),
}


def draw_front(
    path: Path,
    problem: SearchProblem,
    networks: Sequence[Judged],
    front: Sequence[Judged],
    chosen: Judged,
) -> None:
    """Write a PNG of all judged networks, the front and the chosen one."""
    cost, budget, task = problem.cost, problem.budget, problem.task
    label, unit = _AXES[cost]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for group, colour, size, name in (
        (networks, "#b0b8c0", 12, "judged networks"),
        (front, "#1f6fb4", 26, "Pareto front"),
        ([chosen], "#d1495b", 70, "chosen"),
    ):
        x = [n.cost(cost) / unit for n in group]
        y = [task.score_of(n.score) for n in group]
        if cost == "latency":
            bars = [[n.latency_s - n.low_s for n in group], [n.high_s - n.latency_s for n in group]]
            spread = [[max(b, 0) / unit for b in side] for side in bars]
            axes.errorbar(x, y, xerr=spread, fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.5)
        axes.scatter(x, y, s=size, c=colour, label=name, zorder=3 if name != "judged networks" else 2)
    scores = [task.score_of(n.score) for n in front]
    axes.step([n.cost(cost) / unit for n in front], scores, where="post", c="#1f6fb4")
    if budget and budget.name == cost:
        axes.axvline(
            budget.value / unit, color="#555555", linestyle="--", linewidth=1, label=f"budget {budget}"
        )
    lower = ", lower is better" if task.score_of(1.0) < task.score_of(0.5) else ""
    axes.set(xlabel=label, ylabel=f"{task.title} as the search judged it ({task.unit}{lower})")
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.25)
    picture = BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    write_whole(path, picture.getvalue(), "the picture of the front")
