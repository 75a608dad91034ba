"""How a controller learns from rewards: proximal policy optimisation (arXiv:1707.06347), or REINFORCE."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from search.strategies.fastdense.controller import Action, Controller

Rule = Literal["ppo", "reinforce"]


@dataclass(frozen=True)
class PolicySettings:
    """As the authors released them.

    Attributes:
        clip: by how much the ratio of new and old probability may move, with ``ppo``.
        memory: so many of the last networks are learnt from again, with ``ppo``.
        decay: of the moving average of rewards that advantages are measured from.
        gradient_norm: gradients are shortened to it.
        entropy: weight of the policy's entropy.
    """

    rule: Rule = "ppo"
    learning_rate: float = 1e-4
    clip: float = 0.1
    memory: int = 100
    decay: float = 0.95
    gradient_norm: float = 2.0
    entropy: float = 0.0


def clipped_gain(ratio: Tensor, advantage: float, clip: float) -> Tensor:
    """What is made large: the advantage times the ratio, no more of it than a step within ``clip`` gives."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


class Policy:
    """A controller that learns; the networks that it remembers.

    One update follows each network, in the order of ``learn``: what was learnt is a function of the seed and
    of the networks before.
    """

    def __init__(self, controller: Controller, settings: PolicySettings, seed: int) -> None:
        self.controller, self.settings, self._seed = controller, settings, seed
        self.count, self.baseline = 0, 0.0
        self._optimizer = torch.optim.Adam(controller.parameters(), lr=settings.learning_rate)
        self._memory: deque[tuple[Action, float]] = deque(maxlen=settings.memory)

    def learn(self, action: Action, reward: float) -> None:
        """From one more network."""
        decay = self.settings.decay
        self.baseline = decay * self.baseline + (1 - decay) * reward if self.count else reward
        self._memory.append((action, reward))
        if self.settings.rule == "reinforce":
            self._step(action, reward)
        else:
            order = torch.randperm(len(self._memory), generator=self._generator())
            for index in order.tolist():
                self._step(*self._memory[index])
        self.count += 1

    def _step(self, action: Action, reward: float) -> None:
        settings, advantage = self.settings, reward - self.baseline
        now = self.controller.log_probability(action.places)
        if settings.rule == "reinforce":
            gain = now * advantage
        else:
            gain = clipped_gain((now - action.log_probability).exp(), advantage, settings.clip)
        if settings.entropy:
            gain = gain + settings.entropy * self.controller.entropy(action.places)
        self._optimizer.zero_grad()
        (-gain).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.controller.parameters(), settings.gradient_norm)
        self._optimizer.step()

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed((self._seed << 32) + self.count)

    def state(self) -> dict[str, Any]:
        """Tensors and plain data, for a checkpoint."""
        return {
            "controller": self.controller.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "memory": [(asdict(action), reward) for action, reward in self._memory],
            "baseline": self.baseline,
            "count": self.count,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self.controller.load_state_dict(state["controller"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._memory.clear()
        for action, reward in state["memory"]:
            places = tuple(int(place) for place in action["places"])
            self._memory.append((Action(places, float(action["log_probability"])), float(reward)))
        self.baseline, self.count = float(state["baseline"]), int(state["count"])
