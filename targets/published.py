"""Devices that are here as a table alone, which others measured and published. Plain data: no TVM."""

from typing import Annotated, Literal

from pydantic import Field

from targets.support.strict_yaml import Section, Text


class PublishedDevice(Section):
    """A device that nobody here can reach; its latencies are rows of somebody else's table.

    Attributes:
        model: the device's own name.
        conditions: software, element type, batch and size of the images that it was measured with.
        origin, licence: of the table.
        without: what a deployed network does that no row of the table has.
        remarks: what was measured otherwise than it is used here.
        within: factor, up and down, by which a network may differ from the sum of its rows.
    """

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    summary: Text
    kind: Literal["table"]
    model: Text
    conditions: Text
    origin: Text
    licence: Text
    without: Text
    remarks: Text | None = None
    within: Annotated[float, Field(gt=1, le=10)]

    def require_timings(self, work: str) -> None:
        """Nothing to refuse, unlike an emulated ``Target``: latencies are all that there is of it."""
