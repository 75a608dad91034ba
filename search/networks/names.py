"""Names of a network's tensors: ours, those of the authors of SqueezeNAS, and both as wrappers leave them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from cost_models.ir.graph import Graph
from search.architecture import Architecture
from search.spaces.chain import ChainSpace
from search.spaces.encoders import Encoder
from search.spaces.inverted_residual import SKIP

HEAD = "decoder."  # names of tensors that begin so are of the head
ENCODER = "encoder."  # and so of the encoder, where that is a part that other networks have as well

# What DistributedDataParallel, torch.compile, Lightning and others put before every name.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.")
_OF_TRAINING = ("num_batches_tracked", "n_averaged")

# Node of ours -> module in the authors' state dicts (github.com/ashaw596/squeezenas). {i} is a position.
_STEM = {"stem.conv": "encoder.conv1.0", "stem.bn": "encoder.conv1.1"}
_HEAD = {"head.conv": "encoder.last_conv.0", "head.bn": "encoder.last_conv.1"}
_BLOCK = {
    "expand.conv": "op.0",
    "expand.bn": "op.1",
    "depthwise.conv": "op.3",
    "depthwise.bn": "op.4",
    "project.conv": "op.6",
    "project.bn": "op.7",
}
_SKIP = {
    "project.conv": "op.op.1",
    "project.bn": "op.op.2",
    "even.conv": "op.conv_1.0",
    "even.bn": "op.conv_1.1",
    "odd.conv": "op.conv_2.0",
    "odd.bn": "op.conv_2.1",
}
_LRASPP = {
    "high.conv": "decoder._1x1_TL.conv",
    "high.bn": "decoder._1x1_TL.bn",
    "gate": "decoder._1x1_BL",
    "classify_high": "decoder._1x1_TR",
    "classify_low": "decoder._1x1_BR",
}
_ASPP = {
    f"{ours}.{part}": f"{theirs}.{part}"
    for part in ("conv", "bn")
    for ours, theirs in {
        "point": "decoder._1x1_1_conv",
        "atrous6": "decoder._3x3_1_conv",
        "atrous12": "decoder._3x3_2_conv",
        "atrous18": "decoder._3x3_3_conv",
        "fuse": "decoder._1x1_2_conv",
        "refine": "logits2",
    }.items()
} | {"detail": "lowlevel1x1", "classify": "logits3"}


@runtime_checkable
class HasEncoder(Protocol):
    """A space whose networks begin with an encoder, under ``ENCODER``."""

    @property
    def encoder(self) -> Encoder:
        """The one of all its networks."""


def published_keys(architecture: Architecture) -> dict[str, str]:
    """Tensor name in the authors' files -> tensor name in our graph, for a SqueezeNAS architecture."""
    space = architecture.search_space
    if not isinstance(space, ChainSpace):
        return {}  # the authors published chains alone
    return _chain_keys(space, space.short_form(architecture.genotype), architecture.network())


def _chain_keys(space: ChainSpace, blocks: Sequence[str], graph: Graph) -> dict[str, str]:
    """``published_keys`` of a chain of blocks and its network."""
    modules = _STEM | _HEAD
    for index, block in enumerate(blocks):
        for ours, theirs in (_SKIP if block == SKIP else _BLOCK).items():
            modules[f"blocks.{index}.{ours}"] = f"encoder.residuals.{index}.{theirs}"
    decoder = _LRASPP if space.decoder == "lraspp" else _ASPP
    modules |= {f"decoder.{ours}": theirs for ours, theirs in decoder.items()}
    tensors = graph.parameters() | graph.buffers()
    split = (name.rsplit(".", 1) for name in tensors)
    return {f"{modules[node]}.{tensor}": f"{node}.{tensor}" for node, tensor in split if node in modules}


def _encoder_keys(encoder: Encoder) -> dict[str, str]:
    """Names of an encoder's tensors in the network that it is the first part of -> in ours."""
    graph = encoder.graph()
    known = {name: name for name in graph.parameters() | graph.buffers()}
    if encoder.donor is not None:
        known |= _chain_keys(encoder.donor, encoder.blocks, graph)
    return {theirs: f"{ENCODER}{ours}" for theirs, ours in known.items()}


def our_names(architecture: Architecture, names: Iterable[str]) -> dict[str, str]:
    """Name of each tensor of a file -> ours; of those that are nobody's what is left without wrappers.

    Without tensors that only training reads. A file of the network that an encoder is from fills the encoder.
    """
    graph, space = architecture.network(), architecture.search_space
    known = _encoder_keys(space.encoder) if isinstance(space, HasEncoder) else {}
    known |= published_keys(architecture) | {name: name for name in graph.parameters() | graph.buffers()}
    plain = {name: _unwrapped(name, known) for name in names if not name.endswith(_OF_TRAINING)}
    return {name: known.get(left, left) for name, left in plain.items()}


def encoder_names(encoder: Encoder, names: Iterable[str]) -> dict[str, str]:
    """Name of each tensor of a file that is the encoder's -> its name in the encoder's own graph.

    The file is of a network that begins with the encoder, of one over it, or of the encoder alone.
    """
    known = _encoder_keys(encoder)
    known |= {ours: ours for ours in known.values()}
    plain = {name: _unwrapped(name, known) for name in names if not name.endswith(_OF_TRAINING)}
    return {name: known[left].removeprefix(ENCODER) for name, left in plain.items() if left in known}


def head_tensors(architecture: Architecture) -> set[str]:
    """Ours, of what comes after the encoder or depends on how many outputs there are."""
    graph, head = architecture.network(), architecture.head
    shapes = graph.parameters() | graph.buffers()
    wider = replace(head, outputs=head.outputs + 1)
    more = architecture.search_space.network(architecture.genotype, wider)
    others = more.parameters() | more.buffers()
    return {name for name, shape in shapes.items() if name.startswith(HEAD) or others[name] != shape}


def _unwrapped(name: str, known: dict[str, str]) -> str:
    name = name.replace("._orig_mod.", ".")  # a part that was compiled
    while name not in known and name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name
