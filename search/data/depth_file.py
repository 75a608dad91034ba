"""``dataset.yaml`` of frames with depth. No PyTorch."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from search.data.classes import LabelClass
from search.data.depth_code import DepthCode
from search.data.split_entry import SetName, Splits
from search.data.truth import METRES, Truth
from targets.support.strict_yaml import Section


class DepthFile(Section):
    """The whole file. The ``labels`` of its splits are depth files.

    Attributes:
        metres_per_step: of the values in them: 0.001 where they are millimetres.
    """

    truth: ClassVar[Truth] = METRES

    schema_version: Literal[1]
    name: SetName
    task: Literal["depth"]
    metres_per_step: Annotated[float, Field(gt=0, le=1000)]
    splits: Splits

    def label_classes(self) -> tuple[LabelClass, ...]:
        """None."""
        return ()

    def code(self) -> DepthCode:
        """What the pixels of depth files mean."""
        return DepthCode(self.metres_per_step)
