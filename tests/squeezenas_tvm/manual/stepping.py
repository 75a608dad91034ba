"""The steps of a page, done one after the other: its own lines, with tiny sizes and short recipes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from cost_models.ir.weights import random_weights
from search.architecture import load_architecture
from search.networks.weights import save_weights
from squeezenas_tvm.__main__ import main

from ...search.strategies import helpers
from ..test_own_data import TRAIN
from .test_commands import own_words

Value = str | Callable[[list[str]], str]
TINY = {
    "gumbel": helpers.GUMBEL,
    "random": helpers.RANDOM,
    "evolution": helpers.EVOLUTION,
    "ppo": helpers.PPO,
    "cosearch": helpers.COSEARCH,
    "gas": helpers.GAS,
}


def street(path: Path, size: tuple[int, int] = (64, 128)) -> None:
    """A picture."""
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def donor(path: Path, name: str = "squeezenas-lat-small") -> None:
    """Weights of a shipped network, random ones."""
    save_weights(path, random_weights(load_architecture(name).network()))


def recipes(folder: Path, task: str = "segmentation") -> Callable[[list[str]], str]:
    """What takes the place of a line's ``--recipe``: one of seconds, of the line's strategy and scoring."""

    def written(words: list[str]) -> str:
        if words[0] == "train":
            text, name = TRAIN.replace("kind: segmentation", f"kind: {task}"), f"train-{task}"
        else:
            strategy = words[words.index("--strategy") + 1] if "--strategy" in words else "gumbel"
            asked = words[words.index("--recipe") + 1]
            recipe = yaml.safe_load(TINY[strategy])
            if asked == "training":
                recipe["scoring"] = helpers.TRAINING
            elif strategy == "ppo":
                recipe["scoring"] = helpers.PROGRESSIVE
            text, name = json.dumps(recipe), f"{strategy}-{asked}"
        path = folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return written


def shortened(words: list[str], values: Mapping[str, Value]) -> list[str]:
    """A line with other words: behind an option, or in the place of words that belong to none.

    Nothing is tuned, and no process loads data.
    """
    if words[0] == "search" and "--recipe" in values and "--recipe" not in words:
        words = [*words, "--recipe", "small"]  # the usual one
    found = []
    for before, word in zip(["", *words], words, strict=False):
        value = values.get(before if before.startswith("--") and before in values else word)
        if word.startswith("--") or value is None:
            found.append(word)
        else:
            found.append(value if isinstance(value, str) else value(words))
    if "--effort" in found:
        place = found.index("--effort")
        found[place : place + 2] = ["--trials", "0"]
    return [*found, "--workers", "0"] if words[0] == "train" else found


def take(lines: Iterable[list[str]], values: Mapping[str, Value], folder: Path) -> list[str]:
    """Each line, in this process, in the current folder; their commands. ``values`` must all be wanted."""
    done, wanted = [], set[str]()
    for line in lines:
        wanted |= set(line) & values.keys()
        words = own_words(line)
        if words is not None:
            given = shortened(words, values)
            assert main(given) == 0, given
            done.append(words[0])
        elif line[0] == "python" and line[1].endswith("run.py"):
            subprocess.run([sys.executable, *line[1:]], cwd=folder, check=True, timeout=120)
            done.append("run.py")
    assert wanted == values.keys()
    return done
