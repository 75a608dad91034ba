"""The reference kernel: the same work over and over, to see whether a device is still as fast as before.

A convolution bound by computing, since a clock that drops and a neighbour that takes cores both slow it down.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_models.builder.pool import BuildPool
from cost_models.errors import LoweringError
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import GraphBuilder
from cost_models.ir.ops import Activation, Conv2d
from cost_models.lowering.pipeline import kernels, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.runner.runner import (
    SLOW,
    DeviceSession,
    RunSettings,
    arguments_of,
    fastest_reference_s,
    make_arguments,
    sample,
    uploaded,
)
from cost_models.schedules.default import schedule_default
from targets.support.interrupts import HeldInterrupts

_SETTINGS = RunSettings(repeat=3, min_repeat_s=0.005)  # a burst lasts about 20 ms
_PROBES = 3
_PAUSE_S = 0.2


@dataclass(frozen=True)
class Reference:
    """A built reference kernel.

    Attributes:
        path: its shared object; gone with the pool that built it.
        args_info: as ``runner.arguments_of`` gives it.
    """

    path: Path
    args_info: tuple[Any, ...]

    @classmethod
    def build(cls, pool: BuildPool, tvm_target: Any) -> "Reference":
        """The reference kernel of a target, with its default schedule.

        Raises:
            LoweringError: it cannot be built, so no other kernel can.
        """
        kernel = reference_kernel()
        with HeldInterrupts():
            lowered = lower(to_onnx(kernel.graph, kernel.input_shapes, name="kernel"), tvm_target)
            (found,) = kernels(lowered).values()
            scheduled = schedule_default(found.mod, tvm_target)
        (built,) = pool.build([scheduled], tvm_target)
        if built.path is None:
            raise LoweringError(
                f"reference kernel {kernel.key}: cannot be built for {tvm_target.kind.name}: {built.error}; "
                "nothing else can then: look for what its compiler lacks"
            )
        # It stays loaded: a kernel with the same file name would be taken for it by the device's loader.
        path = built.path.rename(built.path.with_name("reference.so"))
        return cls(path, tuple(arguments_of(scheduled)))

    def burst(self, session: DeviceSession) -> tuple[float, ...]:
        """Three samples, seconds a run. The first call in a session uploads the kernel; it stays loaded."""
        if "reference" not in session.scratch:
            with uploaded(session, self.path) as module:
                session.scratch["reference"] = module, make_arguments(session, self.args_info)
        module, arguments = session.scratch["reference"]
        return sample(module, session.device, arguments, _SETTINGS)

    def probe(self, session: DeviceSession) -> float:
        """Seconds a run on the device at its least disturbed: the fastest sample of a few bursts."""
        return min(min(self.burst(session)) for _ in range(_PROBES))

    def wait_for_quiet(self, session: DeviceSession, most_s: float) -> float:
        """Wait until it is as fast as at its fastest in this session, but for a quarter.

        Two cores of a virtual machine may share one for a second or two, and then nothing else tells. What
        lasts longer than ``most_s`` is how the device is now: that session does not wait again.

        Args:
            most_s: how long.

        Returns:
            How many times its fastest it takes now.
        """
        started_s = time.monotonic()
        if "reference_fastest_s" not in session.scratch:
            fastest_reference_s(session, [self.probe(session)])
        while True:
            level_s = statistics.median(self.burst(session))
            ratio = level_s / fastest_reference_s(session, [level_s])
            if ratio <= SLOW or session.scratch.get("waited_in_vain"):
                return ratio
            session.scratch["waited_in_vain"] = time.monotonic() - started_s >= most_s
            time.sleep(_PAUSE_S)


def reference_kernel() -> Kernel:
    """1x1 convolution of 48 to 96 channels with ReLU on a 64x64 map: 19 million multiply-accumulates."""
    net = GraphBuilder()
    value = net.add("relu", Activation("relu"), net.conv_bn("conv", Conv2d(48, 96), "x"))
    (kernel,) = split_into_kernels(net.build(value), {"x": (1, 48, 64, 64)})
    return kernel
