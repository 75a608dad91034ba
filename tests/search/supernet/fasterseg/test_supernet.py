"""The grid's supernet: weights, widths, what a certain pass computes, where gradients reach."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from search.errors import InvalidArchitecture, InvalidResolution
from search.networks.graph_module import GraphModule
from search.spaces.fasterseg.branches import Branch, walk
from search.spaces.fasterseg.grid import OPERATIONS, Grid
from search.spaces.fasterseg.operations import cell_graph
from search.spaces.fasterseg.space import FastersegSpace
from search.spaces.fasterseg.spaces import FASTERSEG
from search.supernet.fasterseg.slimmable import SlimConv, SlimNorm, SlimOperation
from search.supernet.fasterseg.supernet import PREDICTIONS, GridSupernet
from search.supernet.fasterseg.widths import MapWidths, places, straight_through

GRID = Grid(ratio=6, layers=8, base=3, widths=(4, 6, 12))
STUDENT = FastersegSpace(name="student", summary="small", grid=GRID)
TEACHER = FastersegSpace(
    name="teacher",
    summary="small",
    grid=Grid(ratio=12, layers=8, base=3, widths=(12,), operations=OPERATIONS[1:]),
)
SPACES = {"teacher": TEACHER, "student": STUDENT}


@pytest.fixture
def supernet() -> GridSupernet:
    torch.manual_seed(0)
    return GridSupernet(SPACES, outputs=5)


def images(count: int = 2, size: tuple[int, int] = (64, 96)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_cells_have_as_many_convolution_weights_as_the_authors_and_logits_as_many() -> None:
    teacher, student = FASTERSEG
    with torch.device("meta"):
        full = GridSupernet({"teacher": teacher, "student": student}, outputs=19)
    convs = [module for module in full.cells.modules() if isinstance(module, SlimConv)]
    assert sum(conv.weight.numel() for conv in convs) == 247_597_056
    logits = {name: sum(p.numel() for p in full.learner(name).logit_parameters()) for name in SPACES}
    assert logits == {"teacher": 323, "student": 499}
    norms = [module for module in full.cells.modules() if isinstance(module, SlimNorm)]
    assert {len(norm) for norm in norms} == {5}


def test_a_pass_gives_five_predictions_at_the_first_scale(supernet: GridSupernet) -> None:
    for learner, widths in (
        ("teacher", MapWidths.fixed(GRID, 12)),
        ("student", MapWidths.fixed(GRID, 4)),
        ("student", MapWidths.random(GRID, seeded())),
        ("student", MapWidths.drawn(GRID, list(supernet.learner("student").ratio), seeded())),
    ):
        found = supernet(images(), learner, widths)
        assert [tuple(values.shape) for values in found] == [(2, 5, 8, 12)] * len(PREDICTIONS)
        assert all(values.isfinite().all() for values in found)


def test_teacher_and_student_share_the_cells_and_nothing_else(supernet: GridSupernet) -> None:
    own = [{id(p) for p in supernet.learner(name).parameters()} for name in SPACES]
    assert not own[0] & own[1]
    assert {id(p) for p in supernet.weight_parameters()} > {id(p) for p in supernet.cells.parameters()}
    sum(
        values.square().mean() for values in supernet(images(), "teacher", MapWidths.fixed(GRID, 12))
    ).backward()
    assert all(p.grad is None for p in supernet.learner("student").parameters())


def test_gradients_reach_every_logit(supernet: GridSupernet) -> None:
    student = supernet.learner("student")
    drawn = MapWidths.drawn(GRID, list(student.ratio), seeded())
    sum(values.square().mean() for values in supernet(images(), "student", drawn)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.logit_parameters())
    for p in student.logit_parameters():
        p.grad = None
    widest = MapWidths.fixed(GRID, 12)
    sum(values.square().mean() for values in supernet(images(), "student", widest)).backward()
    assert all(p.grad is None for p in student.ratio)
    assert all(p.grad is not None for p in [*student.alpha, *student.beta])


def test_draws_are_ones_with_gradients_and_the_same_for_a_seed() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    rows = torch.cat([straight_through(logits, seeded(seed)) for seed in range(300)])
    assert set(rows.detach().round(decimals=5).flatten().tolist()) == {0.0, 1.0}
    assert rows.detach().mean(0).tolist() == pytest.approx(logits.softmax(-1)[0].tolist(), abs=0.08)
    rows[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().min() > 0
    learner = [torch.zeros(shape) for shape in ((7, 3), (7, 3), (6, 3))]
    one, other = (MapWidths.drawn(GRID, learner, seeded(3)) for _ in range(2))
    assert one.twelfths == other.twelfths
    assert one.twelfths != MapWidths.drawn(GRID, learner, seeded(4)).twelfths
    assert len(one.twelfths) == len(list(places(GRID))) == 7 + 7 + 6
    assert all(float(factor) == pytest.approx(1) for factor in one.factors.values())


def test_a_narrower_width_uses_the_first_channels_and_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    operation = SlimOperation("conv", 8, [4, 8], down=False).train()
    x = torch.randn(4, 8, 6, 6)
    operation(x[:, :4], 4)
    statistics = {
        name: int(norm.num_batches_tracked)
        for name, norm in operation.norm.items()
        if isinstance(norm, nn.BatchNorm2d) and norm.num_batches_tracked is not None
    }
    assert statistics == {"4": 1, "8": 0}
    expected = nn.functional.conv2d(x[:, :4], operation.first.weight[:4, :4], padding=1)
    torch.testing.assert_close(operation.first(x[:, :4], 4), expected)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_the_layers_of_the_derived_cell(operation: str, *, down: bool) -> None:
    torch.manual_seed(0)
    slim = _with_statistics(SlimOperation(operation, 12, [4, 8, 12], down=down)).eval()
    x = torch.randn(2, 8, 6, 10)
    torch.testing.assert_close(_alone(slim, operation, 8, 4, down=down)(x), slim(x, 4), rtol=1e-4, atol=1e-5)


def test_a_certain_pass_is_the_branches_that_it_means(supernet: GridSupernet) -> None:
    """Logits that leave no doubt: the last map of each scale is that of the branch to it."""
    student = supernet.learner("student")
    operations = [OPERATIONS[1 + layer % 4] for layer in range(GRID.layers)]
    with torch.no_grad():
        for scale, alpha in enumerate(student.alpha):
            for row in range(len(alpha)):
                alpha[row, OPERATIONS.index(operations[row + scale])] = 90.0
        for scale, beta in enumerate(student.beta, 1):
            beta[:, 1] = 90.0
            beta[3 - 1 - 1 if scale == 1 else 6 - 2 - 1] = torch.tensor([90.0, 0.0])  # into layers 3 and 6
    chosen = MapWidths.random(GRID, seeded())
    _with_statistics(supernet).eval()
    x = images()
    with torch.inference_mode():
        maps: list[Tensor] = []
        supernet.learner("student").predictions = lambda last: maps.extend(last) or list(last)  # type: ignore
        supernet(x, "student", chosen)
        for scale, downs in enumerate(((), (2,), (2, 5))):
            widths = {}
            place = 0
            for layer in range(GRID.layers - 1):
                place += layer in downs
                widths[layer] = chosen.twelfths[layer + 1, place]
            branch = walk(GRID, dict(enumerate(operations)), widths, downs)
            value = student.stem(x)
            for cell in branch:
                value = _derived(supernet, branch, cell.layer)(value)
            torch.testing.assert_close(maps[scale], value, rtol=1e-4, atol=1e-4)


def test_sides_that_the_last_scale_does_not_divide_are_refused(supernet: GridSupernet) -> None:
    for size, nearest in (((64, 90), "64x96"), ((32, 64), "64x64")):
        with pytest.raises(
            InvalidResolution, match=f"^crop .* sides that 32 divides, from 64 on; the nearest is {nearest}$"
        ):
            supernet(images(size=size), "student", MapWidths.fixed(GRID, 4))


def test_a_single_pixel_has_no_statistics(supernet: GridSupernet) -> None:
    widths = MapWidths.fixed(GRID, 4)
    with pytest.raises(InvalidResolution, match=r"^crop 64x64, 1 image: .* 2 images or more"):
        supernet(images(1, (64, 64)), "student", widths)
    with torch.inference_mode():
        assert supernet.eval()(images(1, (64, 64)), "student", widths)[0].isfinite().all()


def test_grids_that_differ_share_no_cells() -> None:
    with pytest.raises(InvalidArchitecture, match=r"^spaces student, other: their grids differ in layers"):
        GridSupernet({"student": STUDENT, "other": replace(STUDENT, grid=replace(GRID, layers=9))}, 5)


def _with_statistics(module: nn.Module) -> nn.Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return module


def _derived(supernet: GridSupernet, branch: Branch, layer: int) -> GraphModule:
    """The cell of a branch as it stands alone, with the supernet's weights."""
    (cell,) = [cell for cell in branch if cell.layer == layer]
    mixed = supernet.cells[f"{layer}_{cell.scale}_{'down' if cell.down else 'keep'}"]
    slim = mixed.get_submodule(f"operations.{cell.operation}")
    ends = GRID.channels(cell.scale, cell.width_in), GRID.channels(cell.scale_out, cell.width_out)
    return _alone(slim, cell.operation, *ends, down=cell.down)


def _alone(slim: nn.Module, operation: str, before: int, behind: int, *, down: bool) -> GraphModule:
    module = GraphModule(cell_graph(operation, before, behind, down=down)).eval()
    state = slim.state_dict()
    half = behind // 2
    halves: Sequence[tuple[str, str, str, slice]] = [("first", "first", "norm", slice(behind))]
    if "even.weight" in state:
        halves = [("even", "even", "norm", slice(half)), ("odd", "odd", "norm", slice(half, behind))]
    elif "second.weight" in state:
        halves = [*halves, ("second", "second", "last_norm", slice(behind))]
    own = module.state_dict()
    for name, conv, norm, channels in halves:
        rows = channels.stop - (channels.start or 0)
        into = behind if name == "second" else before
        own[f"{name}.conv.weight"] = state[f"{conv}.weight"][:rows, :into]
        for key in ("weight", "bias", "running_mean", "running_var"):
            own[f"{name}.bn.{key}"] = state[f"{norm}.{behind}.{key}"][channels]
    module.load_state_dict(own)
    return module
