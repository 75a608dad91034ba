"""Whether a bundle's module runs on this machine, and TVM for it. Travels in the bundle, beside run.py."""

import os
import platform
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from squeezenas_tvm.bundles.manifest import BundleError
else:  # in a bundle: it lies beside this file
    from manifest import BundleError

# What CUDA's driver and runtime call the failures that a user can do something about, and what that is.
CUDA_FAILURES = {
    "NO_BINARY_FOR_GPU|no kernel image": "its machine code is for another GPU; deploy for this device",
    "INVALID_IMAGE|UNSUPPORTED_PTX|kernel image is invalid|driver version is insufficient": (
        "the GPU's driver is too old for {cuda}; update the driver or JetPack"
    ),
    "OUT_OF_MEMORY|out of memory": (
        "the GPU has too little free memory; end other programs or deploy a smaller resolution"
    ),
}


def processor() -> str:
    """The kind of this machine's processor as a bundle's manifest names it: ``x86_64``, ``aarch64``."""
    here = platform.machine().lower()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(here, here)


def check_machine(folder: Path, target: Mapping[str, Any]) -> None:
    """Refuse a processor that would not run the module.

    Args:
        target: that of the manifest; older bundles do not say what they need.

    Raises:
        BundleError: it is of another kind, or lacks instructions that the module may use.
    """
    needs, here = target.get("runs_on", {}), processor()
    if needs.get("machine", here) != here:
        raise BundleError(
            f"{folder} was made for {target['name']} ({needs['machine']}) and this machine is {here}; "
            "copy it to the device, or deploy for this machine"
        )
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return
    check_flags(folder, target, flags, "this machine")


def check_flags(folder: Path, target: Mapping[str, Any], flags: Collection[str], where: str) -> None:
    """Refuse a processor without instructions that the module may use.

    Args:
        target: that of the manifest.
        flags: as /proc/cpuinfo has them, other words among them do not matter. Those of another kind of
            processor, as an emulator shows its host's, are not judged.
        where: whose processor it is.

    Raises:
        BundleError: it lacks some.
    """
    needs = target.get("runs_on", {})
    wanted = needs.get("cpu_flags", ())
    if not flags or ("asimd" in wanted and "asimd" not in flags):
        return
    present = {flag.replace("_", "") for flag in flags}
    if absent := [flag for flag in wanted if flag.replace("_", "") not in present]:
        raise BundleError(
            f"{folder} was made for {target['name']} with {', '.join(absent)}, which {where} has not; "
            "deploy on that machine, or for a target whose mcpu is its processor"
        )


def check_device(folder: Path, target: Mapping[str, Any], device: Any) -> None:
    """Refuse to run without the kind of device that the module was made for.

    Args:
        device: TVM's; ``exist`` and ``compute_version`` are what is asked of it.

    Raises:
        BundleError: it is not there, or is a GPU of another architecture. NVIDIA lets newer GPUs of a family
            run an older one's code on desktops, and never between desktops and Jetsons: it must be the same.
    """
    if not device.exist:
        raise BundleError(
            f"{folder} needs a {target['device']} device and TVM finds none on this machine: no such device, "
            f"no driver or too old a one, or a TVM runtime built without {target['device']}; "
            f"it was made for {target['name']}"
        )
    wanted = target.get("runs_on", {}).get("cuda_arch")
    if not wanted:
        return
    emulated = str(device.device_name).endswith("(emulated)")
    if emulated != bool(target["runs_on"].get("emulated")):
        kinds = ("a real GPU", "an emulated one")
        raise BundleError(
            f"{folder} was made for {kinds[not emulated]} ({target['name']}) and this is {kinds[emulated]}; "
            "deploy for the target that this device is"
        )
    here = f"sm_{str(device.compute_version).replace('.', '')}"
    if here != wanted:
        raise BundleError(
            f"{folder} holds machine code for GPUs of architecture {wanted} ({target['name']}) and this one "
            f"is {here}; deploy for the target that this device is"
        )


def plug_in_emulated(folder: Path, target: Mapping[str, Any]) -> None:
    """Give this process the emulated GPU that a bundle was made for, in the place of a real one.

    Raises:
        BundleError: TVM is loaded already, without it; or this is a bundle's own script, which has none.
    """
    needs = target.get("runs_on", {})
    if not (needs.get("emulated") and needs.get("cuda_arch")):
        return
    if not (TYPE_CHECKING or __package__):
        raise BundleError(
            f"{folder} was made for {target['name']}, a GPU that squeezenas-tvm emulates, which this script "
            "does not have; give the folder to the command run of squeezenas-tvm"
        )
    from targets.emulated_cuda.libraries import VARIABLE, plug_in

    if os.environ.get(VARIABLE) == needs["cuda_arch"]:
        return
    if "tvm" in sys.modules:
        raise BundleError(
            f"{folder} was made for {target['name']}, and this process has loaded TVM for other devices; "
            "run it in a process of its own"
        )
    plug_in(needs["cuda_arch"])
    os.environ[VARIABLE] = needs["cuda_arch"]


def explain_failure(error: BaseException, target: Mapping[str, Any]) -> str:
    """One line of what TVM raised; what CUDA says of drivers and machine code is put in words."""
    last = (str(error).strip() or type(error).__name__).splitlines()[-1]
    if kernel := re.search(
        r"CUDA_ERROR_\w+: kernel [^\n]*", str(error)
    ):  # an emulated GPU's, before TVM's own pages
        last = kernel[0]
    version = target.get("runs_on", {}).get("cuda")
    cuda = f"code of CUDA {version}" if version else "the CUDA that compiled this"
    for pattern, meaning in CUDA_FAILURES.items():
        if re.search(pattern, str(error)):
            return f"{meaning.format(cuda=cuda)} [{last}]"
    return last


def import_tvm(target: Mapping[str, Any]) -> Any:
    """TVM with as many threads as the target has cores (its own choice is half), without loading PyTorch.

    Raises:
        BundleError: there is none.
    """
    fingerprint = target["fingerprint"]
    os.environ.setdefault("TVM_NUM_THREADS", str(fingerprint.get("cores") or 1))
    torch = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: an import of it fails
    try:
        import tvm
    except ImportError as error:
        raise BundleError(
            f"TVM cannot be imported by {sys.executable} ({error}); "
            f"install it: pip install apache-tvm=={fingerprint.get('tvm_version', '0.27.0.post1')}"
        ) from error
    finally:
        if torch is None:
            del sys.modules["torch"]
    return tvm
