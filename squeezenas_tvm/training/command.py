"""The command line that trains what a search chose: what its text, document and page say comes next."""

import shlex
from pathlib import Path


def train_command(data_spec: str, out: Path) -> str:
    """What trains the network that a search chose, by the shipped recipe for such data.

    Args:
        data_spec, out: of the search.
    """
    recipe = "squeezenas-paper" if data_spec.startswith("cityscapes") else "camvid"
    words = ["squeezenas-tvm", "train", str(out / "chosen.yaml"), "--data", data_spec]
    return shlex.join([*words, "--recipe", recipe, "--out", str(out / "trained")])
