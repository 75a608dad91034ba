"""TVM's CUDA text as C++ for the host: what is refused, and what keeps its line."""

import pytest

from targets.emulated_cuda.source import host_units
from targets.errors import CompileError

KERNEL = 'extern "C" __global__ void __launch_bounds__(32) {}(float* __restrict__ x, int n) {{\n{}\n}}\n'


def test_kernels_are_shared_out_and_keep_their_lines() -> None:
    source = "#define A 1\n" + "".join(KERNEL.format(f"k{i}", "  x[n] = A;\n" * i) for i in range(4))
    units = host_units(source, 2)
    assert len(units) == 2
    for number in range(4):
        (unit,) = (unit for unit in units if f"static inline void emu_body_k{number}(" in unit)
        line = 1 + source[: source.index(f" k{number}(")].count("\n")
        assert f'#line {line} "kernels.cu"\nstatic inline void emu_body_k{number}(' in unit
    assert sum(unit.count("EMU_TABLE(") for unit in units) == 1


def test_arrays_that_are_checked_lie_apart() -> None:
    body = (
        "  __shared__ alignas(64) float a[3];\n  alignas(64) half b[5];\n  __shared__ alignas(64) int2 c[2];"
    )
    (plain,), (checked,) = (
        host_units(KERNEL.format("k", body), checked=checked) for checked in (False, True)
    )
    assert "EMU_SHARED(float, a, 3, 0)" in plain
    assert "EMU_SHARED(int2, c, 2, 64)" in plain
    assert "alignas(64) half b[5];" in plain
    assert "EMU_SHARED(int2, c, 2, 128)" in checked
    assert "EMU_LOCAL(half, b, 5, 0)" in checked


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("int x;", "the text has no kernel"),
        (KERNEL.format("big", "  __shared__ float a[12289];"), "kernel big has 49156 bytes of static"),
        (KERNEL.format("odd", "  __shared__ Thing a[2];"), "arrays of 'Thing' are not known"),
        (KERNEL.format("odd", "  __shared__ float a[N];"), "kernel odd: cannot read '__shared__ float a"),
        (KERNEL.replace("int n", "int").format("nameless", ""), "cannot read the parameter 'int'"),
    ],
)  # fmt: skip
def test_what_cannot_be_emulated_is_named(source: str, text: str) -> None:
    with pytest.raises(CompileError, match=f"^emulated CUDA: .*{text}"):
        host_units(source)
