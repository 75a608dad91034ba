"""The record of judged networks."""

from pathlib import Path

from search.results.record import read_record


def test_records_of_the_first_release_are_read(tmp_path: Path) -> None:
    record = tmp_path / "judged.jsonl"
    record.write_text(
        '{"blocks": ["k3e1", "skip"], "miou": 0.25}\n'
        '{"options": ["skip", "skip"], "score": 0.5}\n'
        '{"blocks": ["skip", "k3'  # killed while it wrote
    )
    assert list(read_record(record)) == [(("k3e1", "skip"), 0.25), (("skip", "skip"), 0.5)]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert list(read_record(tmp_path / "judged.jsonl")) == []
