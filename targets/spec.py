"""The schema of a target's YAML file. Plain data: no TVM, no network.

A wrong file is answered with every fault at once, one line each: key, what was found, what is allowed.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from targets.support.strict_yaml import Count, Positive, Section, Text
from targets.support.text import near_miss

SCHEMA_VERSION = 1

Dtype = Literal["float32", "float16", "int8"]
Version = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")]
GpuArchitecture = Annotated[str, Field(pattern=r"^sm_[0-9]+$")]


class Rpc(Section):
    """How the device is reached.

    Attributes:
        key: the name under which boards of this kind register at the tracker.
        tracker_env: the environment variable that holds the tracker's HOST:PORT.
        slower_by: a board that is more times slower than the fastest of its key gets no work.
    """

    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    tracker_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    slower_by: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.25


class Measure(Section):
    """How one kernel is timed. All but ``timeout_s`` is part of a measurement's identity.

    Timing goes in rounds, with a reference kernel between them, until the median is known well enough.

    Attributes:
        number: runs averaged into one sample.
        repeat: samples of the first two rounds, which are made in any case; all samples are kept.
        min_repeat_ms: a sample lasts at least this long; TVM raises ``number`` to get there.
        cooldown_ms: pause between samples.
        interval_width: wanted of the 95 % interval of the median, as a share of the median.
        drift: how much slower than at its fastest the reference may be beside a round, as a share.
        budget_s: when it is spent, timing ends however wide the interval is.
        timeout_s: a kernel that takes longer than this counts as hung.
    """

    number: Count
    repeat: Annotated[int, Field(ge=3, lt=1 << 31)]
    min_repeat_ms: Annotated[int, Field(ge=0, lt=1 << 31)]
    cooldown_ms: Annotated[int, Field(ge=0, lt=1 << 31)]
    interval_width: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    drift: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    budget_s: Positive = 1.5
    timeout_s: Positive

    @field_validator("timeout_s")
    @classmethod
    def _is_beyond_the_budget(cls, timeout_s: float, info: ValidationInfo) -> float:
        budget_s = info.data.get("budget_s", 0.0)
        if timeout_s <= budget_s:
            raise ValueError(f"found {timeout_s:g}; allowed: more than budget_s, which is {budget_s:g}")
        return timeout_s


class Peaks(Section):
    """What the hardware can do at best; ``source`` says who says so and in which power mode."""

    memory_bandwidth_gb_per_s: Positive
    gmacs_per_s: Annotated[dict[Dtype, Positive], Field(min_length=1)]
    source: Text


class PowerModes(Section):
    """Names as the device spells them; measurements are taken in ``default``."""

    names: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
    default: Text

    @field_validator("default")
    @classmethod
    def _is_named(cls, default: str, info: ValidationInfo) -> str:
        names = info.data.get("names", (default,))
        if default not in names:
            raise ValueError(f"found {default!r}{near_miss(default, names)}; allowed: {', '.join(names)}")
        return default


class Toolchain(Section):
    """What the device's system has; versions are text, since 11.10 is no number."""

    triple: Text | None = None
    glibc: Version | None = None
    cuda: Version | None = None


class Clock(Section):
    """A file that holds a clock rate, and how many of its units make a megahertz; ``*`` is any text."""

    path: Annotated[str, Field(pattern=r"^/")]
    per_mhz: Positive


class PowerModeQuery(Section):
    """A command that prints the power mode, and the pattern whose first group is its name."""

    command: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
    pattern: Text

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"found {pattern!r}, which is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"found {pattern!r} with {groups} groups; allowed: exactly one, the mode's name")
        return pattern


class Readings(Section):
    """What the board is asked before and after measuring; temperatures are read from its thermal zones.

    Attributes:
        power_mode: a board that tells another mode than ``power_modes.default`` is refused.
        clocks: by name.
    """

    power_mode: PowerModeQuery | None = None
    clocks: dict[Text, Clock] = Field(default_factory=dict)


class Variant(Section):
    """The same device in another state: what differs from the file's own values."""

    summary: Text
    power_mode: Text | None = None
    toolchain: Toolchain | None = None
    peaks: Peaks | None = None
    tvm: dict[str, Any] | None = None


class TargetSpec(Section):
    """One device: how to build for it, reach it and time it.

    Attributes:
        kind: ``local`` is the machine this runs on; ``board`` is reached over RPC.
        model: the device's own name; a board must have it, a local machine is asked for it.
        tvm: ``{tag: NAME}`` or the attributes of a TVM target, handed to TVM unchanged; for a local llvm
            target ``mcpu`` and ``num-cores`` are detected where they are left out, for a local CUDA target
            all that describes the GPU.
        emulated: the device is a program: it proves what is built for it, its timings mean nothing.
        multiprocessors: of NVIDIA GPUs, by architecture; TVM's target does not tell them, and estimates of
            latencies want them.
        variants: by suffix; ``load_target("NAME-SUFFIX")`` gives one.
    """

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    summary: Text
    kind: Literal["local", "board"]
    emulated: bool = False
    model: Annotated[Text | None, Field(validate_default=True)] = None
    tvm: dict[str, Any]
    rpc: Rpc
    dtypes: Annotated[tuple[Dtype, ...], Field(min_length=1, strict=False)]
    measure: Measure
    peaks: Peaks | None = None
    power_modes: PowerModes | None = None
    multiprocessors: dict[GpuArchitecture, Count] | None = None
    toolchain: Toolchain | None = None
    readings: Readings | None = None
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9]+$")], Variant] = Field(default_factory=dict)

    @field_validator("tvm")
    @classmethod
    def _tag_or_attributes(cls, tvm: dict[str, Any]) -> dict[str, Any]:
        if set(tvm) != {"tag"} and ("kind" not in tvm or "tag" in tvm):
            raise ValueError(
                f"found the keys {sorted(tvm)}; allowed: tag alone, or kind and other attributes"
            )
        return tvm

    @field_validator("variants")
    @classmethod
    def _modes_are_named(cls, variants: dict[str, Variant], info: ValidationInfo) -> dict[str, Variant]:
        if "power_modes" not in info.data:  # it is at fault itself
            return variants
        modes = info.data["power_modes"]
        names = modes.names if modes else ()
        allowed = f"allowed: {', '.join(names)}" if names else "allowed with power_modes only"
        faults = []
        for suffix, mode in ((suffix, variant.power_mode) for suffix, variant in variants.items()):
            if mode is not None and mode not in names:
                text = f"found {mode!r}{near_miss(mode, names)}; {allowed}"
                kind = PydanticCustomError("value_error", "{error}", {"error": text})
                faults.append(InitErrorDetails(type=kind, loc=(suffix, "power_mode"), input=mode))
        if faults:
            raise ValidationError.from_exception_data("variants", faults)
        return variants

    @field_validator("model")
    @classmethod
    def _fits_the_kind(cls, model: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("kind") == "board" and model is None:
            raise ValueError("missing; a target of kind board must name its device")
        if info.data.get("kind") == "local" and model is not None:
            raise ValueError(
                f"found {model!r}; allowed for kind board only, a local machine is asked its name"
            )
        return model
