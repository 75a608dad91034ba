"""Everything cost_models/ raises on purpose.

CostModelError
├── InvalidGraph             a layer description that has no meaning: which node, why
├── LoweringError            a network that TVM took, but could not build or link (failed work: exit code 1)
├── InvalidMeasurement       samples that cannot be a latency
├── IncompatibleTable        a latency table of another target or schema, or a damaged one
├── IncompatiblePredictor    a predictor of another environment, schema or features, or a damaged one
├── IncompatiblePrior        a device's prior of another schema, or a damaged one
├── IncompatibleNetworkModel a calibration of networks of another environment or schema, or a damaged one
├── MissingEntry             a kernel that nobody has measured: which, on which target
└── StoreError               the measurement store cannot be opened, read or written
    ├── IncompatibleStore    another format, a newer schema, or damaged
    ├── UnknownEnvironment   holds measurements, but of other devices, versions or settings
    └── StorageFull          no room for the result at hand; the earlier ones are kept
"""


class CostModelError(Exception):
    """Base: catch this to catch them all. ``exit_code`` is 2 for wrong input, 1 for failed work."""

    exit_code = 2


class InvalidGraph(CostModelError):
    """A layer description that has no meaning."""


class LoweringError(CostModelError):
    """A network that TVM took, but could not build or link."""

    exit_code = 1


class InvalidMeasurement(CostModelError):
    """Samples that cannot be a latency."""


class IncompatibleTable(CostModelError):
    """A latency table of another target or schema, or a damaged one."""


class IncompatiblePredictor(CostModelError):
    """A predictor of another environment, schema or version of features, or a damaged one."""


class IncompatiblePrior(CostModelError):
    """A device's prior of another schema, or a damaged one."""


class IncompatibleNetworkModel(CostModelError):
    """A calibration of networks of another environment or schema, or a damaged one."""


class MissingEntry(CostModelError):
    """A kernel without a measurement on the target asked for.

    Args:
        given: what else the command that measures it is given.
    """

    def __init__(self, kernel: str, target: str, *given: str) -> None:
        from targets.target import profile_command  # not at the top: every --help would wait for it

        self._what = kernel, target
        told = profile_command(target, *given)
        super().__init__(f"{kernel}: not measured on {target}; measure it with: {told}")

    def of(self, space: str, resolution: object) -> "MissingEntry":
        """The same of a space that was asked for."""
        return MissingEntry(*self._what, "--space", space, "--resolution", str(resolution))

    def of_file(self, name: str) -> "MissingEntry":
        """The same of a network in an ONNX file, or in a bundle."""
        return MissingEntry(*self._what, name)


class StoreError(CostModelError):
    """The measurement store cannot be opened, read or written."""


class IncompatibleStore(StoreError):
    """A file of another format, of a newer schema, or a damaged one."""


class UnknownEnvironment(StoreError):
    """Nothing was measured on this device with these versions and settings."""


class StorageFull(StoreError):
    """No room to store a result; every result stored before it is kept."""
