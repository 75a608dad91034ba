"""Networks of cells on TVM: the numbers of PyTorch and onnxruntime, the kernels of the parts."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from cost_models.ir.fusion import split_into_kernels
from cost_models.lowering.pipeline import compile_lowered, lower
from cost_models.onnx_io.exporter import to_onnx
from cost_models.tvm_import import relax, tvm
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.camera import segmentation_head
from search.spaces.gas.chain import OPERATIONS, CellChain, Pyramid
from search.spaces.gas.space import GasSpace
from search.spaces.gas.spaces import GAS
from targets import load_target

from ....cost_models.ir.test_fusion import differences
from ..contract import settled

SIZE = Resolution(64, 64)
HEAD = segmentation_head(7)
TARGET = load_target("local-cpu").tvm_target()
SHORT = GasSpace(
    name="short",
    summary="three cells",
    chain=CellChain(channels=8, cells=3, reductions=(1,), decoder=Pyramid(rates=(2,), channels=16)),
)


def every_operation() -> dict[str, str]:
    """Each of them at stride 1 and 2, zeros and sums included."""
    return {own.name: OPERATIONS[(3 * i + 1) % 8] for i, own in enumerate(SHORT.decisions)}


@pytest.mark.parametrize("seed", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_three_runtimes_agree(seed: int | None) -> None:
    space = SHORT if seed is None else GAS[0]
    chosen = every_operation() if seed is None else space.sample(np.random.default_rng(seed))
    torch.manual_seed(0)
    network = space.network(chosen, HEAD)
    module, image = settled(GraphModule(network)), torch.randn(1, 3, *SIZE)
    tensors = {n: v.numpy() for n, v in module.state_dict().items() if "num_batches" not in n}
    model = to_onnx(network, {"x": (1, 3, *SIZE)}, tensors)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (onnx_map,) = session.run(None, {"x": image.numpy()})
    compiled = compile_lowered(lower(model, TARGET), TARGET, {})
    machine = relax.VirtualMachine(compiled.executable, tvm.cpu())
    tvm_map = machine["main"](tvm.runtime.tensor(image.numpy())).numpy()
    with torch.inference_mode():
        torch_map = module(image)
    assert isinstance(torch_map, torch.Tensor)
    limit = 1e-4 * np.abs(onnx_map).max()
    assert np.abs(torch_map.numpy() - onnx_map).max() <= limit
    assert np.abs(tvm_map - onnx_map).max() <= limit


@pytest.mark.parametrize("cell", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_tvm_cuts_the_parts_of_a_cell_as_we_do(cell: int) -> None:
    """Every operation with every number of sums: of one edge a node, and what is no edge."""
    slots = (f"cells.{cell}.in0", f"cells.{cell}.in1_2", f"cells.{cell}.1_2", f"cells.{cell}.sum2")
    parts = [part for part in SHORT.parts(SIZE, HEAD) if part.slot in (*slots, f"cells.{cell}.out")]
    assert len(parts) > 30
    assert differences(part for part in parts if part.graph.nodes) == []


def test_kernels_of_parts_are_found_again_in_whole_networks() -> None:
    """Without borders, as networks are deployed: nearly all of the kernels that were timed run in them."""
    found, all_of_them = 0, 0
    for seed in range(10):
        network = GAS[0].network(GAS[0].sample(np.random.default_rng(seed)), HEAD)
        borders = GAS[0].borders(GAS[0].sample(np.random.default_rng(seed)))
        inputs = {"x": (1, 3, *SIZE)}
        whole = Counter(split_into_kernels(network, inputs))
        apart = split_into_kernels(replace(network, outputs=(*network.outputs, *borders)), inputs)
        known = set(apart)
        found += sum(count for kernel, count in whole.items() if kernel in known)
        all_of_them += whole.total()
    assert found / all_of_them > 0.95
