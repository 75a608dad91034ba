"""Graph -> PyTorch module. The only place where layer descriptions meet PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cost_models.errors import InvalidGraph
from cost_models.ir.graph import Graph, Node
from cost_models.ir.ops import (
    Activation,
    Add,
    ArgMax,
    AroundPeak,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    Expand,
    GlobalAvgPool,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    PeakPoints,
    PlaceOfMax,
    Plane,
    Resize,
    RowMax,
    ShiftByOne,
    Standardize,
    TakeRow,
    ToByte,
)
from cost_models.ir.peaks import AROUND, FLATTEST
from search.networks.dilated_conv import DilatedDepthwise

_Size = tuple[int, int] | None


class GraphModule(nn.Module):
    """Runs a graph; works at any size the graph works at, also in training mode.

    State-dict keys are ``node.tensor`` with the node names of the graph (``blocks.3.expand.conv.weight``).

    Raises InvalidGraph for an operation that does not run in PyTorch.

    Shapes: inputs in the order of ``graph.inputs``, mostly one image (N, 3, H, W), float, normalised;
    returns the graph's output, or a tuple when it has several.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._last_use = {
            name: node.name
            for node in graph.nodes
            for name in (*node.inputs, *((node.size_of,) if node.size_of else ()))
        }
        for node in graph.nodes:
            kind = type(node.op)
            if kind in MODULES:
                _register(self, node.name, MODULES[kind](node.op))
            elif kind not in FUNCTIONS:
                raise InvalidGraph(
                    f"{node.name}: {kind.__name__} does not run in PyTorch; give it a function in FUNCTIONS "
                    "of search/networks/graph_module.py, or in MODULES if it has weights (CONTRIBUTING.md, "
                    "Add an operation)"
                )

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self._compute(self.graph, *inputs)

    def _compute(self, graph: Graph, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Of the module's graph, or of one whose nodes and outputs are some of its."""
        values = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            size: _Size = None
            if node.size_of is not None:
                height, width = values[node.size_of].shape[2:]
                size = (height // node.size_over, width // node.size_over)
            values[node.name] = self._run(node, [values[i] for i in node.inputs], size)
            self._release(node, values)
        outputs = tuple(values[name] for name in graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _run(self, node: Node, inputs: list[Tensor], size: _Size) -> Tensor:
        if type(node.op) in MODULES:
            result: Tensor = self.get_submodule(node.name)(*inputs)
            return result
        return FUNCTIONS[type(node.op)](node.op, inputs, size)

    def _release(self, node: Node, values: dict[str, Tensor]) -> None:
        for name in (*node.inputs, node.size_of):
            if name and self._last_use[name] == node.name and name not in self.graph.outputs:
                values.pop(name, None)


def _register(root: nn.Module, name: str, module: nn.Module) -> None:
    """Hang a module into a tree of plain modules, so that its state-dict keys read like the node's name."""
    *path, leaf = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.add_module(leaf, module)


def _conv(op: Conv2d) -> nn.Conv2d:
    kind = DilatedDepthwise if op.is_depthwise and op.dilation > 1 else nn.Conv2d
    conv = kind(
        op.in_channels,
        op.out_channels,
        op.kernel,
        stride=op.stride,
        padding=op.padding,
        dilation=op.dilation,
        groups=op.groups,
        bias=op.bias,
    )
    if op.is_depthwise and op.kernel == 1:  # a scale of channels, which begins as none
        nn.init.ones_(conv.weight)
    else:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hswish": functional.hardswish,
    "sigmoid": torch.sigmoid,
    "hsigmoid": functional.hardsigmoid,
}


def _avg_pool(op: AvgPool2d, inputs: list[Tensor], size: _Size) -> Tensor:
    kernel, stride = op.window(inputs[0].shape[2], inputs[0].shape[3])
    return functional.avg_pool2d(inputs[0], kernel, stride)


def _max_pool(op: MaxPool2d, inputs: list[Tensor], size: _Size) -> Tensor:
    return functional.max_pool2d(inputs[0], op.kernel, op.stride, op.padding)


def _resize(op: Resize, inputs: list[Tensor], size: _Size) -> Tensor:
    return functional.interpolate(
        inputs[0], size=op.size or size, mode="bilinear", align_corners=op.align_corners
    )


def _expand(op: Expand, inputs: list[Tensor], size: _Size) -> Tensor:
    height, width = op.size or size or (1, 1)
    return inputs[0].expand(-1, -1, height, width)


def _shift(op: ShiftByOne, inputs: list[Tensor], size: _Size) -> Tensor:
    height, width = inputs[0].shape[2:]
    return functional.pad(inputs[0][:, :, 1:, 1:], (0, width % 2, 0, height % 2))


def _pad(op: Pad, inputs: list[Tensor], size: _Size) -> Tensor:
    *_, height, width = op.output_shape([tuple(inputs[0].shape)], None)
    return functional.pad(inputs[0], (0, width - inputs[0].shape[3], 0, height - inputs[0].shape[2]))


def _crop(op: Crop, inputs: list[Tensor], size: _Size) -> Tensor:
    height, width = op.size or size or inputs[0].shape[2:]
    return inputs[0][:, :, :height, :width]


def _normalize(op: Normalize, inputs: list[Tensor], size: _Size) -> Tensor:
    image = inputs[0].permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (op.mean, op.std))
    return (image - mean) / std


def _take_row(op: TakeRow, inputs: list[Tensor], size: _Size) -> Tensor:
    maps, rows = inputs
    return maps.gather(2, rows[..., None].expand(-1, -1, 1, maps.shape[3]))[:, :, 0]


def _around_peak(op: AroundPeak, inputs: list[Tensor], size: _Size) -> Tensor:
    maps, rows, columns = inputs
    lasts, flat = [side - 1 for side in maps.shape[2:]], maps.flatten(2)
    shifts = torch.tensor(AROUND, device=maps.device)
    down, across = (  # beyond an edge the one on the other side
        last - (last - (place + shift).abs()).abs()
        for place, shift, last in zip((rows, columns), shifts.T, lasts, strict=True)
    )
    return flat.gather(2, down * maps.shape[3] + across)


def _peak_points(op: PeakPoints, inputs: list[Tensor], size: _Size) -> Tensor:
    values, rows, columns = inputs
    peak, before, after = (values[..., some].float() for some in (slice(1), slice(1, 4, 2), slice(2, 5, 2)))
    move = (after - before) / ((peak - before) + (peak - after) + FLATTEST)
    middles = torch.cat([columns, rows], 2).float() * op.stride + (op.stride - 1) / 2
    return torch.cat([middles + move * (op.stride / 2), peak], 2)


# Operations with weights of their own, named as in ``Op.parameters`` and ``Op.buffers``
MODULES: dict[type[Op], Callable[[Any], nn.Module]] = {
    Conv2d: _conv,
    BatchNorm2d: lambda op: nn.BatchNorm2d(op.channels, eps=op.epsilon),
    Standardize: lambda op: nn.BatchNorm2d(op.channels, eps=op.epsilon, affine=False),
}
FUNCTIONS: dict[type[Op], Callable[[Any, list[Tensor], _Size], Tensor]] = {
    Activation: lambda op, inputs, size: _ACTIVATIONS[op.kind](inputs[0]),
    Add: lambda op, inputs, size: inputs[0] + inputs[1],
    Mul: lambda op, inputs, size: inputs[0] * inputs[1],
    Concat: lambda op, inputs, size: torch.cat(inputs, dim=1),
    GlobalAvgPool: lambda op, inputs, size: inputs[0].mean((2, 3), keepdim=True),
    ArgMax: lambda op, inputs, size: inputs[0].argmax(1),
    ToByte: lambda op, inputs, size: inputs[0].to(torch.uint8),
    Plane: lambda op, inputs, size: inputs[0][:, 0].float(),
    AvgPool2d: _avg_pool,
    MaxPool2d: _max_pool,
    Resize: _resize,
    Expand: _expand,
    ShiftByOne: _shift,
    Pad: _pad,
    Crop: _crop,
    Normalize: _normalize,
    RowMax: lambda op, inputs, size: inputs[0].amax(3),
    PlaceOfMax: lambda op, inputs, size: inputs[0].argmax(2, keepdim=True),
    TakeRow: _take_row,
    AroundPeak: _around_peak,
    PeakPoints: _peak_points,
}
