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
        table: a model that the caller has, or the folder of a table or a fit; None: what there is.
        default_schedules: kernels as they run without tuning.
    """

    target: Target
    table: CostModel | Path | None = None
    default_schedules: bool = False
    _read: dict[Path | None, CostModel] = field(default_factory=dict)

    def of(self, dtype: str | None) -> CostModel:
        """The model for networks of an element type; None: whatever was measured.

        Raises:
            CostModelError: there is none, or it cannot be read.
        """
        found = self.table if isinstance(self.table, CostModel) else self._in_folder(self.table, dtype)
        if dtype is not None:
            found = in_type(found, dtype, self.target)
        if self.default_schedules:
            by_default = DefaultSchedules(self.target.uses_cuda)
            found = replace(found, adjustments=(*found.adjustments, by_default))
        return found

    def _in_folder(self, folder: Path | None, dtype: str | None) -> CostModel:
        if folder is None and dtype is not None:
            folder = typed_folder(self.target, dtype)
        if folder not in self._read:
            self._read[folder] = cost_model(self.target, folder)
        return self._read[folder]
