"""DLight's rule Reduction keeps the sum of a cross-thread reduction in registers of other threads.

    python dlight_local_scope.py

Needs TVM alone (seen with 0.27); where an NVIDIA GPU is there the kernel is also run and compared with NumPy.
"""

import numpy as np
import tvm
from tvm import te, topi
from tvm.s_tir import dlight

CHANNELS, GROUPS, HEIGHT, WIDTH = 40, 2, 4, 8

x = te.placeholder((1, CHANNELS, HEIGHT, WIDTH), name="x")
weight = te.placeholder((CHANNELS, CHANNELS // GROUPS, 1, 1), name="weight")
bias = te.placeholder((1, CHANNELS, 1, 1), name="bias")
convolution = topi.nn.group_conv2d_nchw(x, weight, 1, 0, 1, GROUPS)
result = topi.nn.relu(topi.add(convolution, bias))
module = tvm.IRModule({"main": te.create_prim_func([x, weight, bias, result])})

target = tvm.target.Target({"kind": "cuda", "arch": "sm_72", "max_threads_per_block": 1024, "host": "llvm"})
with target:
    scheduled = dlight.ApplyDefaultSchedule(dlight.gpu.Reduction())(module)

text = scheduled["main"].script()
print(text[text.index("group_conv2d_nchw_local = ") :].splitlines()[0].strip())
print("is written by each thread at v2 = threadIdx.x, and read at v2 = (threadIdx.x * 20 + i) % 8:\n")
print(text[text.rindex("        for ax1_0_ax2_ax3_fused") :])

if tvm.cuda(0).exist:
    random = np.random.default_rng(0)
    shapes = [tuple(map(int, tensor.shape)) for tensor in (x, weight, bias, result)]
    arrays = [random.standard_normal(shape).astype("float32") for shape in shapes]
    tensors = [tvm.runtime.tensor(array, tvm.cuda(0)) for array in arrays]
    tvm.compile(scheduled, target)["main"](*tensors)
    grouped = arrays[0].reshape(GROUPS, CHANNELS // GROUPS, -1)
    filters = arrays[1].reshape(GROUPS, CHANNELS // GROUPS, -1)
    expected = np.maximum((filters @ grouped).reshape(shapes[0]) + arrays[2], 0)
    wrong = np.abs(tensors[3].numpy() - expected) > 1e-4
    print(f"\n{wrong.sum()} of {wrong.size} values are wrong")
