"""``onnx-networks.json``: networks from ONNX files that were profiled, as TVM cuts them.

Beside a table it tells, without TVM, which rows a network is made of: its file tells layers alone. A network
is known by the digest of its layers and sizes, so files of other names or weights are the same network.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from cost_models.database.environment import differences
from cost_models.errors import IncompatibleTable
from cost_models.ir.fusion import Kernel
from cost_models.ir.kernel_graph import KernelGraph
from targets.support.document import Document
from targets.support.text import brief

FILE = "onnx-networks.json"
_AGAIN = "profile its networks again into the same folder, where what was measured is kept and not repeated"


class ProfiledNetwork(BaseModel):
    """A network at fixed sizes.

    Attributes:
        name: of its file.
        inputs: shape of each input, by name.
        digest: of its layers, see ``onnx_io.digest``.
        kernels: keys of what it runs, in order, equal ones as often as they run.
        reads: of each, the positions of those whose values it reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    inputs: dict[str, list[int]]
    digest: str
    kernels: list[str]
    reads: list[list[int]]

    @property
    def what(self) -> tuple[str, str]:
        """File and sizes: one of each is kept."""
        return self.name, self.sizes

    @property
    def sizes(self) -> str:
        """Of its inputs, for people."""
        return ", ".join("x".join(map(str, shape)) for shape in self.inputs.values())


class ProfiledNetworks(Document):
    """The networks of a folder, and what each of their kernels is."""

    WHAT: ClassVar[str] = "a list of profiled networks"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 1
    REFUSAL = IncompatibleTable
    AGAIN: ClassVar[str] = _AGAIN

    fingerprint: dict[str, Any]
    networks: list[ProfiledNetwork]
    descriptions: dict[str, dict[str, Any]]

    @staticmethod
    def in_folder(folder: Path, fingerprint: Mapping[str, Any]) -> "ProfiledNetworks":
        """What a folder has of an environment; nothing where there is no such file, or it is of another.

        Raises:
            IncompatibleTable: it cannot be read.
        """
        none = ProfiledNetworks(schema_version=1, fingerprint=dict(fingerprint), networks=[], descriptions={})
        if not (folder / FILE).exists():
            return none
        there = ProfiledNetworks.load(folder / FILE)
        there.check(folder)
        return none if differences(there.fingerprint, fingerprint) else there

    def check(self, folder: Path) -> None:
        """Raises IncompatibleTable where a network names what is not there."""
        for network in self.networks:
            count = len(network.kernels)
            lost = [key for key in network.kernels if key not in self.descriptions]
            unordered = any(not 0 <= i < at for at, reads in enumerate(network.reads) for i in reads)
            if lost or unordered or len(network.reads) != count:
                what = f"kernels {lost[0]}" if lost else "the order of its kernels"
                raise self._refused(f"{folder / FILE}: damaged, {network.name} lacks {what}")
        try:
            wrong = [key for key, kernel in self.by_key.items() if kernel.key != key]
        except Exception as error:  # of many types, where a description is none
            raise self._refused(
                f"{folder / FILE}: damaged, a kernel makes no sense ({brief(error)})"
            ) from None
        if wrong:
            raise self._refused(f"{folder / FILE}: damaged, {wrong[0]} is another kernel")

    def also(
        self, networks: Iterable[ProfiledNetwork], kernels: Iterable[Kernel], made_by: str
    ) -> "ProfiledNetworks":
        """With more networks; of the same file and sizes the later.

        Args:
            kernels: all that they run.
            made_by: program and version.
        """
        kept = {one.what: one for one in (*self.networks, *networks)}
        known = self.descriptions | {kernel.key: dict(kernel.description) for kernel in kernels}
        used = {key for one in kept.values() for key in one.kernels}
        return ProfiledNetworks(
            schema_version=self.SCHEMA,
            made_by=made_by,
            fingerprint=self.fingerprint,
            networks=[*kept.values()],
            descriptions={key: known[key] for key in known if key in used},
        )

    @cached_property
    def by_key(self) -> dict[str, Kernel]:
        """Every kernel."""
        return {key: Kernel.from_description(told) for key, told in self.descriptions.items()}

    @cached_property
    def graphs(self) -> dict[str, KernelGraph]:
        """What each network runs, by its digest."""
        return {one.digest: self.graph(one) for one in self.networks}

    def graph(self, network: ProfiledNetwork) -> KernelGraph:
        """What one of the networks runs."""
        reads = tuple(tuple(positions) for positions in network.reads)
        return KernelGraph(tuple(self.by_key[key] for key in network.kernels), reads)
