"""A turn of ``turns.by_turns``: a bundle loaded, run, and gone. Prints milliseconds as JSON."""

import json
import sys
from pathlib import Path

import numpy as np

from squeezenas_tvm.bundles.manifest import BundleError
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.bundles.values import is_frame
from squeezenas_tvm.errors import UsageError

_WARM_UP = 5
_GRAY = 128


def main(folder: str, repeats: str) -> None:
    """Of a gray frame, or of zeros where the network takes something else. Exits with 2 for a bad bundle."""
    try:
        bundle = Bundle.load(Path(folder))
        inputs = [
            np.full(own["shape"], _GRAY if is_frame(own) else 0, np.dtype(own["dtype"]))
            for own in bundle.inputs
        ]
        samples_ms = bundle.time_ms(inputs, int(repeats), _WARM_UP)
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UsageError.exit_code)
    json.dump(samples_ms, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
