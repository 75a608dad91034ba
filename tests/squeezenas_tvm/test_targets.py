"""The targets command: the list of devices, and one of them in full."""

import json
from pathlib import Path

import pytest

from squeezenas_tvm.targets import _verdict, main
from targets import list_published, list_targets, load_target
from targets.checks import BUILD, FLOAT16, MEASURE

from .helpers import quick_target, refused_by


def test_list_has_every_shipped_target(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].split() == ["name", "kind", "dtypes", "what", "it", "is"]
    names = (*list_targets(), *list_published())
    assert tuple(line.split()[0] for line in said[2:]) == names
    assert main(["--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [target["name"] for target in document["targets"]] == list(names)
    assert document["targets"][0] == load_target(list_targets()[0]).model_dump(mode="json", exclude_none=True)


def test_this_machine_in_full(capfd: pytest.CaptureFixture[str]) -> None:
    fingerprint = load_target("local-cpu").fingerprint()
    assert main(["local-cpu", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["kind"] == "local"
    assert document["digest"] == fingerprint.digest
    assert document["fingerprint"] == fingerprint.as_dict()
    assert main(["local-cpu"]) == 0
    said = capfd.readouterr().out
    for value in (fingerprint.device, fingerprint.tvm_version, fingerprint.digest, fingerprint.tvm_target):
        assert value in said


def test_board_is_described_without_being_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["jetson-xavier"]) == 0
    said = capfd.readouterr().out
    assert "NVIDIA Jetson AGX Xavier" in said
    assert "MODE_30W_ALL" in said
    assert "float32, float16" in said


def test_file_of_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(quick_target(tmp_path)), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == "quick-cpu"


def test_unknown_target(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["local-cup"]) == 2
    said = capfd.readouterr().err
    assert said.startswith(
        "error: unknown target 'local-cup', did you mean local-cpu?; allowed: emulated-aarch64, "
    )
    assert said.endswith(
        ", a variant of one (squeezenas-tvm targets), or the path of a .yaml file of your own\n"
    )
    named = said.partition("allowed: ")[2].partition(", a variant")[0].split(", ")
    variants = {name for name in list_targets() if name not in named}
    assert all(name.startswith(tuple(f"{one}-" for one in named)) for name in variants)
    assert {"jetson-xavier-maxn", "emulated-cuda-sm87"} <= variants
    assert set(list_published()) <= set(named)


def test_file_that_tvm_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = quick_target(tmp_path)
    text = path.read_text(encoding="utf-8").replace("{kind: llvm}", "{tag: nvidia/jetson-agx-xavir}")
    path.write_text(text, encoding="utf-8")
    assert main([str(path)]) == 2
    said = capfd.readouterr().err
    assert "refused by TVM, did you mean nvidia/jetson-agx-xavier?" in said
    assert "Traceback" not in said


def test_check_of_this_machine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(quick_target(tmp_path))
    assert main(["check", path]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].split() == ["what", "needed", "for", "found"]
    assert said[2].split()[:3] == ["TVM", "ok", "build"]
    assert said[-1] == "quick-cpu: all there"
    assert main(["check", path, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["target"], document["ok"]) == ("quick-cpu", True)
    assert {"name", "ok", "found", "fix", "needed_for"} == set(document["checks"][0])


def test_check_of_a_board_nobody_answers_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SQUEEZENAS_TRACKER", raising=False)
    assert main(["check", "raspberry-pi-4"]) == 1
    said = capfd.readouterr().out.splitlines()
    (row,) = [line for line in said if line.startswith("tracker  ")]
    assert row.split() == ["tracker", "MISSING", "measure", "no", "address"]
    assert any(line.startswith("tracker: give --tracker HOST:PORT") for line in said)
    assert main(["check", "raspberry-pi-4", "--json"]) == 1
    checks = json.loads(capfd.readouterr().out)["checks"]
    assert [check["name"] for check in checks if not check["ok"]][-1] == "tracker"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek", "jetson-xavier"], "found 'chek jetson-xavier', did you mean check?; allowed: "),
        (["check"], "found 'check'; allowed: nothing, NAME, or check NAME"),
        (["check", "local-cpu", "local-cpu"], "found 'check local-cpu local-cpu'; allowed: "),
        (["check", "jetson-xavir"], "unknown target 'jetson-xavir', did you mean jetson-xavier?"),
        (
            ["check", "jetson-xavier", "--tracker", "9190"],
            "tracker address: found '9190', allowed: HOST:PORT",
        ),
        (["local-cpu", "--tracker", "127.0.0.1:1"], "--tracker is for: targets check NAME --tracker"),
    ],
)
def test_wrong_words(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    refused_by(main, words, said, capfd)


def test_what_works_without_what_is_missing() -> None:
    assert _verdict(set()) == "all there"
    assert _verdict({MEASURE}) == "all but profile and deploy --trials can be done"
    assert _verdict({MEASURE, FLOAT16}) == "all but float16 and profile and deploy --trials can be done"
    assert _verdict({MEASURE, BUILD}) == "nothing can be built for it yet"
