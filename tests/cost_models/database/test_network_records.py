"""The table of networks that were timed whole: written, read again, and what a line must hold."""

import json

import pytest

from cost_models.database.network_records import (
    About,
    AboutFile,
    WholeNetwork,
    about_of,
    networks_from_csv,
    networks_to_csv,
)
from cost_models.errors import InvalidMeasurement

ABOUT = About("squeezenas-small", ("k3e6", "skip", "k3e1g2d2"), 19, (256, 512))
NETWORK = WholeNetwork(ABOUT, ((3.1e-3, 3e-3, 3.2e-3), (9e-3, 8e-3, 7e-3), (3.3e-3, 3.2e-3, 3.4e-3)), 2.9e-3)

FILE = AboutFile("net, of mine.onnx", "1x3x64x128", "0123abcd")


def test_a_slow_round_does_not_count() -> None:
    assert NETWORK.levels_s == [3.1e-3, 8e-3, 3.3e-3]
    assert NETWORK.median_s == 3.3e-3


def test_what_is_written_is_read_again() -> None:
    other = WholeNetwork(About("mobilenetv3-small", ("k5h96",), 11, (64, 128)), ((1.5e-3,),), 1e-3)
    assert networks_from_csv(networks_to_csv([NETWORK, other])) == [NETWORK, other]
    assert networks_from_csv(networks_to_csv([])) == []
    of_a_file = WholeNetwork(FILE, ((2e-3, 2.1e-3),), 1.9e-3)
    assert networks_from_csv(networks_to_csv([NETWORK, of_a_file])) == [NETWORK, of_a_file]


def test_tables_of_before_files_were_timed_are_read() -> None:
    lines = networks_to_csv([NETWORK]).splitlines()
    assert networks_from_csv("\n".join(line.rsplit(",", 2)[0] for line in lines)) == [NETWORK]


def test_what_json_made_lists_of_is_the_same_network() -> None:
    for about in (ABOUT, FILE):
        assert about_of(json.loads(json.dumps(about.description))) == about


@pytest.mark.parametrize(
    "rounds_s", [(), ((),), ((1e-3, 0.0),), ((1e-3, -1e-3),), ((float("nan"),),), ((1e-3,), (float("inf"),))]
)
def test_rounds_hold_latencies(rounds_s: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(
        InvalidMeasurement, match="rounds must have samples, and samples and sum be finite and > 0"
    ):
        WholeNetwork(ABOUT, rounds_s, 1e-3)


@pytest.mark.parametrize("old", ["256x512", "0.0031", "19", "rounds_s"])
def test_a_damaged_table_is_refused(old: str) -> None:
    text = networks_to_csv([NETWORK])
    assert old in text
    with pytest.raises((ValueError, KeyError)):
        networks_from_csv(text.replace(old, "what", 1))
