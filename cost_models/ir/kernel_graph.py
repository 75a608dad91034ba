"""The kernels of a network with what each of them waits for: which of them could run side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cost_models.ir.fusion import Kernel, kernel_calls
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape


@dataclass(frozen=True)
class KernelGraph:
    """Kernels in the order they run, equal ones as often as they do.

    Attributes:
        reads: of each kernel, the positions of those whose values it reads.
    """

    kernels: tuple[Kernel, ...]
    reads: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(graph: Graph, inputs: Mapping[str, Shape]) -> "KernelGraph":
        """What runs for a graph of operations.

        Raises:
            InvalidGraph: the shapes do not fit.
        """
        calls = kernel_calls(graph, inputs)
        maker = {call.nodes[-1]: index for index, call in enumerate(calls)}
        reads = (tuple(maker[name] for name in call.reads if name in maker) for call in calls)
        return KernelGraph(tuple(call.kernel for call in calls), tuple(reads))

    @staticmethod
    def chain(kernels: Sequence[Kernel]) -> "KernelGraph":
        """Kernels each of which waits for the one before it."""
        reads = (tuple(range(index - 1, index)) if index else () for index in range(len(kernels)))
        return KernelGraph(tuple(kernels), tuple(reads))

    def critical_path(self, seconds: Sequence[float]) -> list[int]:
        """Positions of the kernels that the end waits for longest, in order.

        Args:
            seconds: of each kernel.
        """
        import networkx  # takes a third of a second to load; most devices do not overlap kernels

        graph = networkx.DiGraph()
        end = len(self.kernels)
        for index, read in enumerate(self.reads):
            graph.add_edge(index, end, weight=seconds[index])
            graph.add_edges_from((before, index, {"weight": seconds[before]}) for before in read)
        return list(networkx.dag_longest_path(graph))[:-1]
