"""SegFormer-B0: "Simple and Efficient Design ... with Transformers", arXiv:2105.15203."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import conv_bn, resized

WIDTHS, HEADS, REDUCTIONS, BLOCKS, DECODER = (32, 64, 160, 256), (1, 2, 5, 8), (8, 4, 2, 1), 2, 256


class Attention(nn.Module):
    """Of every pixel to all pixels of the map made smaller by ``reduction``. Tokens are (N, H * W, C)."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.queries, self.pairs = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, width)
        if reduction > 1:
            self.reduce, self.norm = nn.Conv2d(width, width, reduction, reduction), nn.LayerNorm(width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        seen = x
        if self.reduction > 1:
            seen = self.norm(tokens(self.reduce(as_map(x, size))))
        keys, values = self.pairs(seen).chunk(2, -1)
        queries, keys, values = (self._by_head(t) for t in (self.queries(x), keys, values))
        scale = queries.shape[-1] ** -0.5
        shares = torch.softmax(queries @ keys.transpose(-2, -1) * scale, -1)
        return self.last((shares @ values).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, pixels, C) to (N, heads, pixels, C / heads)."""
        count, pixels, width = x.shape
        return x.reshape(count, pixels, self.heads, width // self.heads).transpose(1, 2)


class Block(nn.Module):
    """Attention, then a feed-forward network with a depthwise convolution inside."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attend = Attention(width, heads, reduction)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mix = nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.attend(self.norm1(x), size)
        hidden = tokens(self.mix(as_map(self.up(self.norm2(x)), size)))
        return x + self.down(functional.gelu(hidden))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Overlapping patches, blocks; gives a map (N, C, H, W)."""

    def __init__(self, inputs: int, width: int, heads: int, reduction: int, *, first: bool) -> None:
        super().__init__()
        kernel, stride = (7, 4) if first else (3, 2)
        self.patches = nn.Conv2d(inputs, width, kernel, stride, kernel // 2)
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width, 1e-6)
        self.blocks = nn.ModuleList(Block(width, heads, reduction) for _ in range(BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        size = int(x.shape[2]), int(x.shape[3])
        x = self.norm(tokens(x))
        for block in self.blocks:
            x = block(x, size)
        return as_map(self.last(x), size)


def tokens(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H * W, C) to (N, C, H, W)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


class SegFormerB0(nn.Module):
    """(N, 3, H, W) to logits (N, classes, H, W); sides are multiples of 32."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        inputs = (3, *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            Stage(i, o, heads, reduction, first=i == 3)
            for i, o, heads, reduction in zip(inputs, WIDTHS, HEADS, REDUCTIONS, strict=True)
        )
        self.unify = nn.ModuleList(nn.Linear(width, DECODER) for width in WIDTHS)
        self.join = conv_bn(len(WIDTHS) * DECODER, DECODER, 1)
        self.classify = nn.Conv2d(DECODER, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        found, deep = [], x
        for stage, unify in zip(self.stages, self.unify, strict=True):
            deep = stage(deep)
            size = int(deep.shape[2]), int(deep.shape[3])
            found.append(as_map(unify(tokens(deep)), size))
        same = [found[0], *(resized(other, found[0]) for other in found[1:])]
        return resized(self.classify(self.join(torch.cat(same[::-1], 1))), x)
