"""The cost model of a target, by element type, each looked up once."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.kernel_models.adjustments import DefaultSchedules
from cost_models.lookup import cost_model, in_type, typed_folder
from targets import Target


@dataclass
class Models:
    """What predictions are asked of.

    Attributes:
        table: folder of a table or a fit.
        default_schedules: kernels as they run without tuning.
    """

    target: Target
    table: Path | None = None
    default_schedules: bool = False
    _read: dict[Path | None, CostModel] = field(default_factory=dict)

    def of(self, dtype: str | None) -> CostModel:
        """The model for networks of an element type; None: whatever was measured.

        Raises:
            CostModelError: there is none, or it cannot be read.
        """
        folder = self.table or (typed_folder(self.target, dtype) if dtype else None)
        if folder not in self._read:
            self._read[folder] = cost_model(self.target, folder)
        found = self._read[folder]
        if dtype is not None:
            found = in_type(found, dtype, self.target)
        if self.default_schedules:
            by_default = DefaultSchedules(self.target.uses_cuda)
            found = replace(found, adjustments=(*found.adjustments, by_default))
        return found
