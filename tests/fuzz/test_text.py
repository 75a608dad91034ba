"""CSV files and messages of trackers: whatever is in them, they are read or refused in one line."""

import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models.database.network_records import networks_from_csv
from cost_models.database.rows import rows_from_csv
from cost_models.errors import InvalidMeasurement
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.measured_networks import read_networks
from squeezenas_tvm.reports.files import read_csv
from targets.rpc.tracker import Tracker

from .mutations import bytes_like, fuzz, is_one_line, json_like

pytestmark = pytest.mark.slow
CELLS = st.sampled_from(
    ["nan", "inf", "-1", "1e999", "9" * 5000, '"', "\0", "\r", "\n", ",", ";", "x" * 200_000]
)
ROWS = b"kernel,how,trials,samples_s,estimate_s,reason\nk,default,3,0.1 0.2,,\nl,estimated,1,,0.5,why\n"
NETWORKS = b"space,blocks,num_classes,resolution,sum_s,rounds_s\nsmall,a b,19,64x128,0.5,0.1 0.2; 0.3\n"
MEASURED = b"network,resolution,latency_ms,note\nsqueezenas-lat-small,64x128,4.5,\n./x.yaml,64x128,4,\n"
CURVES = b"epoch,loss,expected_latency_ms\n0,0.5,1.5\n1,,1.25\n"


def spoilt(sound: bytes) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda content, cell, place: content[:place] + cell.encode() + content[place:],
        bytes_like(sound),
        st.one_of(st.just(""), CELLS),
        st.integers(0, len(sound)),
    )


@fuzz(500)
@given(spoilt(ROWS))
def test_rows_of_a_table(content: bytes) -> None:
    try:
        rows = rows_from_csv(content)
    except InvalidMeasurement as error:
        is_one_line(error, "")
    else:
        assert all(row.statistics.median_s > 0 for row in rows.values())


@fuzz(500)
@given(spoilt(NETWORKS))
def test_measured_networks(content: bytes) -> None:
    with suppress(ValueError, InvalidMeasurement):
        assert all(network.median_s > 0 for network in networks_from_csv(content.decode("utf-8", "replace")))


@pytest.mark.parametrize("kind", ["measured", "curves"])
def test_files_of_the_users(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"

    @fuzz(150)
    @given(spoilt(MEASURED if kind == "measured" else CURVES))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            if kind == "measured":
                read_networks(path)
            else:
                read_csv(path, ("epoch", "loss"), again="search again", optional=("loss",))
        except UsageError as error:
            is_one_line(error, path)

    run()


def test_what_a_tracker_answers() -> None:
    listed = {"server_info": [{"key": "server:board", "addr": ["10.0.0.5", 9090]}], "queue_info": {}}
    messages = st.one_of(json_like([0, listed]), json_like([0, ["10.0.0.5", 9090, "board:0.1"]]))

    @fuzz(300)
    @given(messages, st.sampled_from([0, 0, 0, 1, -1, 1 << 30]))
    def run(message: bytes, off: int) -> None:
        message = message[:60_000]  # what a socket holds while nobody reads
        ours, theirs = socket.socketpair()
        tracker = object.__new__(Tracker)
        tracker._socket, tracker._base = ours, _base()
        with ours, theirs:
            ours.settimeout(1)
            theirs.sendall(struct.pack("<i", max(-(1 << 31), len(message) + off)) + message)
            theirs.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                tracker.grant(1)

    run()


def _base() -> object:
    from targets.tvm_import import tvm

    return tvm.rpc.base
