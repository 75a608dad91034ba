"""The controller and how it learns: sizes and numbers of the specification, and a policy that gets better."""

import pytest
import torch

from search.spaces.fastdense.spaces import cells_over, templates_over
from search.spaces.space import Decision
from search.strategies.fastdense.controller import Controller
from search.strategies.fastdense.policy import Policy, PolicySettings, Rule, clipped_gain
from search.strategies.fastdense.stopping import EarlyStop

FEW = (
    Decision("a", ("x", "y", "z")),
    Decision("b", ("x", "y", "z")),
    Decision("c", ("left", "right"), "wiring"),
)


def size_of(controller: Controller) -> int:
    return sum(parameter.numel() for parameter in controller.parameters())


def test_sizes_are_those_of_the_released_controllers() -> None:
    """Without their embedding, which nothing reads; positions are drawn from pools of 2, 5 and 8."""
    cells = Controller(cells_over().decisions, warm_up=4)
    assert size_of(cells) == 168_871 == 169_365 - 1_100 + 6 * 101
    assert size_of(Controller(templates_over().decisions, warm_up=2)) == 171_188 - 600
    assert size_of(Controller(cells_over().decisions, warm_up=4, feedback=True)) > size_of(cells)


@pytest.mark.parametrize(("over", "entropy"), [(cells_over, 35.124304), (templates_over, 53.512993)])
def test_a_controller_without_an_opinion_has_the_entropy_of_the_space(over: type, entropy: float) -> None:
    controller = Controller(over().decisions, warm_up=2)
    with torch.no_grad():
        for head in controller.heads:
            for parameter in head.parameters():
                parameter.zero_()
    places = [0] * len(controller.decisions)
    assert float(controller.entropy(places).detach()) == pytest.approx(entropy, abs=1e-4)
    assert float(controller.log_probability(places).detach()) == pytest.approx(-entropy, abs=1e-4)


def test_all_weights_begin_small() -> None:
    controller = Controller(FEW, warm_up=1)
    values = torch.cat([parameter.detach().flatten() for parameter in controller.parameters()])
    assert -0.1 <= float(values.min()) < -0.099
    assert 0.099 < float(values.max()) <= 0.1


@pytest.mark.parametrize("feedback", [False, True])
def test_what_is_drawn_has_the_probability_that_is_told(feedback: bool) -> None:
    controller = Controller(FEW, warm_up=2, feedback=feedback, seed=3)
    action = controller.draw(torch.Generator().manual_seed(1))
    told = float(controller.log_probability(action.places).detach())
    assert told == pytest.approx(action.log_probability, abs=1e-5)
    assert controller.places(controller.genotype(action.places)) == action.places
    total = sum(
        float(controller.log_probability((a, b, c)).detach().exp())
        for a in range(3)
        for b in range(3)
        for c in range(2)
    )
    assert total == pytest.approx(1, abs=1e-5)
    # Only a controller that sees its first choice goes on otherwise behind another
    behind = [
        float((controller.log_probability((a, 0, 0)) - controller.log_probability((a, 1, 0))).detach())
        for a in (0, 1)
    ]
    assert (behind[0] == pytest.approx(behind[1], abs=1e-6)) is not feedback


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain"),
    [(1.25, 0.2, 0.22), (1.25, -0.2, -0.25), (0.8, -0.2, -0.18), (0.8, 0.2, 0.16)],
)
def test_gains_are_clipped_where_they_are_gains(ratio: float, advantage: float, gain: float) -> None:
    assert float(clipped_gain(torch.tensor(ratio), advantage, 0.1)) == pytest.approx(gain)


def numbered(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("rule", ["ppo", "reinforce"])
def test_a_policy_comes_to_draw_what_is_rewarded(rule: Rule) -> None:
    settings = PolicySettings(rule=rule, learning_rate=1e-2 if rule == "ppo" else 2e-2, memory=3)
    policy = Policy(Controller(FEW, warm_up=1), settings, seed=0)
    for number in range(50):
        action = policy.controller.draw(numbered(number))
        policy.learn(action, float(action.places[0] == 2))
    with torch.no_grad():
        chance = sum(
            float(policy.controller.log_probability((2, b, c)).exp()) for b in range(3) for c in (0, 1)
        )
    assert chance > 0.7


def test_the_baseline_begins_with_the_first_reward() -> None:
    policy = Policy(Controller(FEW, warm_up=1), PolicySettings(), seed=0)
    baselines = []
    for number, reward in enumerate((0.4, 0.6, 0.2)):
        policy.learn(policy.controller.draw(numbered(number)), reward)
        baselines.append(policy.baseline)
    assert baselines == pytest.approx([0.4, 0.41, 0.3995])


def test_a_policy_that_was_stopped_goes_on_as_if_not() -> None:
    def rewarded(policy: Policy, count: int) -> list[tuple[int, ...]]:
        drawn = []
        for _ in range(count):
            action = policy.controller.draw(numbered(policy.count))
            policy.learn(action, sum(action.places) / 5)
            drawn.append(action.places)
        return drawn

    settings = PolicySettings(learning_rate=1e-2)
    whole = Policy(Controller(FEW, warm_up=1), settings, seed=4)
    expected = rewarded(whole, 12)
    first = Policy(Controller(FEW, warm_up=1), settings, seed=4)
    drawn = rewarded(first, 5)
    second = Policy(Controller(FEW, warm_up=1, seed=9), settings, seed=4)
    second.restore(first.state())
    assert drawn + rewarded(second, 7) == expected
    for name, values in whole.controller.state_dict().items():
        assert torch.equal(values, second.controller.state_dict()[name])


def test_early_stopping_has_the_numbers_of_the_specification() -> None:
    stop = EarlyStop()
    averages = []
    for reward in (0.2, 0.25, 0.1):
        assert stop.goes_on(reward, drawn=0.0)
        averages.append(stop.average)
    assert averages == pytest.approx([0.0119, 0.014281, 0.01513819], abs=1e-9)


def test_a_weak_network_is_stopped_less_patiently_later() -> None:
    stop = EarlyStop(average=0.5)
    assert stop.goes_on(0.3, drawn=0.5)  # within 45 % of the average
    assert not stop.goes_on(0.2, drawn=0.5)
    for _ in range(400):
        stop.goes_on(0.5, drawn=0.0)
    assert stop.tolerance == pytest.approx(0.9 * 0.9 * 0.8 * 0.7 * 0.6) == pytest.approx(0.27216)
    assert not stop.goes_on(0.4, drawn=0.5)
