"""A bundle on a board that is reached over RPC: nothing has to be copied there by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from squeezenas_tvm.bundles.machine import check_device, check_flags, explain_failure
from squeezenas_tvm.bundles.manifest import read_key_points, read_labels, read_manifest
from squeezenas_tvm.bundles.runner import Bundle, as_list
from squeezenas_tvm.bundles.values import Array
from squeezenas_tvm.errors import FailedWork
from targets import load_target, open_session


class BoardBundle(Bundle):
    """A verified bundle on a board. Made by `open_bundle`."""

    def time_ms(self, inputs: Sequence[Array], repeats: int, warmup: int) -> list[float]:
        """As the base class, by the board's own clock: sending and receiving do not count."""
        with self._explained():
            self._vm.save_function("main", "run", *self._to_device(inputs), include_return=False)

            def sample(count: int) -> Any:
                return self._vm.time_evaluator("run", self._device, number=1, repeat=count)().results

            sample(warmup)
            return [seconds * 1e3 for seconds in sample(repeats)]

    def _run(self, tensors: Sequence[Any]) -> list[Any]:
        self._vm.set_input("main", *tensors)
        self._vm.invoke_stateful("main")
        return as_list(self._vm.get_outputs("main"))


@contextmanager
def open_bundle(
    folder: Path, target: str | None, tracker: str, timeout_s: float = 3600.0
) -> Iterator[BoardBundle]:
    """Verify the bundle, load it on a free board and give that back at the end.

    Args:
        target: name or file of the board's target; the one that the bundle names when None.
        tracker: HOST:PORT.
        timeout_s: after that the board takes itself back.

    Raises:
        BundleError: not a sound bundle, or the board's processor or GPU does not fit.
        TargetError: no such target, no board, or one that does not fit.
        FailedWork: the module does not load there.
    """
    manifest = read_manifest(folder)
    classes, key_points = read_labels(folder), read_key_points(folder, manifest)
    about = manifest["target"]
    with open_session(load_target(target or about["name"]), tracker, timeout_s=timeout_s) as session:
        check_flags(folder, about, session.cpu_flags, f"board {session.board}")
        check_device(folder, about, session.device)
        from cost_models.tvm_import import relax

        try:
            vm = relax.VirtualMachine(session.upload(folder / "model.so"), session.device)
        except Exception as error:  # TVM raises what it likes here
            reason = explain_failure(error, about)
            raise FailedWork(
                f"{folder / 'model.so'} does not load on board {session.board}: {reason}; "
                "deploy for what that board is"
            ) from error
        yield BoardBundle(manifest, classes, vm, session.device, key_points, folder=folder)
