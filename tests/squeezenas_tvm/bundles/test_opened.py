"""Where a bundle is opened."""

from pathlib import Path

import pytest

from squeezenas_tvm.bundles.opened import opened_bundle
from squeezenas_tvm.errors import UsageError


def test_here_unless_a_tracker_is_named(sealed_bundle: Path) -> None:
    with opened_bundle(sealed_bundle) as bundle:
        assert (bundle.height, bundle.width) == (64, 64)


def test_a_target_without_a_tracker_is_refused(sealed_bundle: Path) -> None:
    with (
        pytest.raises(UsageError, match="--target is for --tracker HOST:PORT"),
        opened_bundle(sealed_bundle, target="jetson-xavier"),
    ):
        pass
