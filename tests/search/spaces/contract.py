"""What every search space must keep, as tests to derive from: give the fixture ``space``."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from cost_models.ir.fusion import split_into_kernels
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.memory import peak_bytes
from cost_models.onnx_io.exporter import to_onnx
from search.errors import InvalidArchitecture, UnknownCandidate
from search.networks.graph_module import GraphModule
from search.resolution import Resolution
from search.spaces.camera import camera_network, segmentation_head
from search.spaces.space import Genotype, Part, SearchSpace, one_hot, uniform

SIZE = Resolution(64, 64)
HEAD = segmentation_head(7)
FRAME = {"frame": (1, *SIZE, 3)}
IMAGE = {"x": (1, 3, *SIZE)}
DRAWS = 400  # networks: every option of a decision with 13 of them is missing with a chance of 1e-14
RARE = 3  # runs beyond what is usual of a part that none of those networks was likely to have


class SearchSpaceContract:
    """Of spaces at 64x64, the smallest size, with seven outputs."""

    def peak_slack(self, space: SearchSpace) -> float:
        """By which share the peak of the parts may miss that of the network: 0 where each says its own."""
        return 0.0

    @pytest.fixture
    def genotypes(self, space: SearchSpace) -> list[dict[str, str]]:
        """A few different networks; fewer where there are no more."""
        random = np.random.default_rng(7)
        drawn = [space.sample(random) for _ in range(6)]
        return list({tuple(genotype.values()): genotype for genotype in drawn}.values())

    def test_decisions_have_names_of_their_own_and_options(self, space: SearchSpace) -> None:
        names = [decision.name for decision in space.decisions]
        assert len(names) == len(set(names)) > 0
        for decision in space.decisions:
            assert len(decision.options) == len(set(decision.options)) > 0
            assert decision.kind in ("operation", "path", "width", "wiring")
        assert space.name
        assert space.summary
        assert "\n" not in space.summary

    def test_parts_have_names_of_their_own(self, space: SearchSpace) -> None:
        names = [part.name for part in space.parts(SIZE, HEAD)]
        assert len(names) == len(set(names))

    def test_slots_have_labels_for_people_that_differ(self, space: SearchSpace) -> None:
        slots = dict.fromkeys(part.slot for part in space.parts(SIZE, HEAD) if part.slot)
        labels = [space.slot_label(slot) for slot in slots]
        assert len(set(labels)) == len(slots)
        assert all(label and "\n" not in label for label in labels)

    def test_a_certain_network_runs_its_parts_each_once(
        self, space: SearchSpace, genotypes: list[dict[str, str]]
    ) -> None:
        """And of each slot at most one; so their kernels are those of the network, cut at its borders."""
        for genotype in genotypes:
            parts = _running(space, genotype)
            slots = [part.slot for part in parts if part.slot]
            assert len(slots) == len(set(slots))
            camera = camera_network(space.network(genotype, HEAD), HEAD)
            apart = replace(camera, outputs=(*camera.outputs, *space.borders(genotype)))
            kernels = KernelGraph.of(apart, FRAME).kernels
            assert Counter(_kernels(parts)) == Counter(kernels)

    def test_parts_add_up_to_the_network(self, space: SearchSpace, genotypes: list[dict[str, str]]) -> None:
        for genotype in genotypes:
            parts, network = _running(space, genotype), space.network(genotype, HEAD)
            assert sum(part.graph.macs(part.inputs) for part in parts) == network.macs(IMAGE)
            assert sum(part.graph.num_parameters for part in parts) == network.num_parameters

    def test_the_peak_of_the_parts_is_that_of_the_network(
        self, space: SearchSpace, genotypes: list[dict[str, str]]
    ) -> None:
        peaks = space.peak_bytes(SIZE, HEAD)
        assert peaks.keys() == {part.name for part in space.parts(SIZE, HEAD)}
        for genotype in genotypes:
            camera = camera_network(space.network(genotype, HEAD), HEAD)
            found = max(peaks[part.name] for part in _running(space, genotype))
            assert found == pytest.approx(peak_bytes(camera, FRAME), rel=self.peak_slack(space))

    def test_marginals_are_of_parts_and_alike_in_numpy_and_torch(self, space: SearchSpace) -> None:
        random = np.random.default_rng(1)
        drawn = {d.name: random.dirichlet(np.ones(len(d.options)), size=3) for d in space.decisions}
        arrays = space.marginals(drawn)
        tensors = space.marginals({name: torch.tensor(values) for name, values in drawn.items()})
        assert arrays.keys() == tensors.keys()
        parts = {part.name: part for part in space.parts(SIZE, HEAD)}
        assert arrays.keys() <= parts.keys()
        assert {name for name, part in parts.items() if part.slot} <= arrays.keys()
        together = dict.fromkeys((part.slot for part in parts.values() if part.slot), np.zeros(3))
        for name, values in arrays.items():
            assert values.shape == (3,)
            assert np.array_equal(tensors[name].numpy(), values)
            if slot := parts[name].slot:
                together[slot] = together[slot] + values
        for slot, values in together.items():
            assert (values <= 1 + 1e-12).all(), slot

    def test_marginals_are_how_often_parts_run_in_drawn_networks(self, space: SearchSpace) -> None:
        random = np.random.default_rng(2)
        drawn = [
            {d.name: d.options[random.integers(len(d.options))] for d in space.decisions}
            for _ in range(DRAWS)
        ]
        runs = space.marginals(one_hot(space, drawn))
        for name, chance in space.marginals(uniform(space)).items():
            spread = (chance * (1 - chance) / DRAWS) ** 0.5
            assert abs(runs[name].mean() - chance) <= 5 * spread + RARE / DRAWS, name

    def test_samples_are_valid_and_leave_no_option_out(self, space: SearchSpace) -> None:
        random = np.random.default_rng(0)
        seen: dict[str, set[str]] = {decision.name: set() for decision in space.decisions}
        for _ in range(DRAWS):
            genotype = space.sample(random)
            assert list(space.check(genotype).items()) == list(genotype.items())
            for name, option in genotype.items():
                seen[name].add(option)
        assert seen == {decision.name: set(decision.options) for decision in space.decisions}

    def test_the_same_seed_gives_the_same_networks(self, space: SearchSpace) -> None:
        one, other = (
            [space.sample(random) for _ in range(5)]
            for random in (np.random.default_rng(3), np.random.default_rng(3))
        )
        assert one == other

    def test_checked_genotypes_are_in_order(self, space: SearchSpace) -> None:
        genotype = space.sample(np.random.default_rng(0))
        turned = dict(reversed(genotype.items()))
        assert list(space.check(turned)) == [decision.name for decision in space.decisions]

    def test_what_is_missing_or_no_decision_is_refused_at_once(self, space: SearchSpace) -> None:
        genotype = space.sample(np.random.default_rng(0))
        name, option = genotype.popitem()
        with pytest.raises(InvalidArchitecture) as refused:
            space.check({**genotype, f"{name}x": option})
        said = str(refused.value)
        assert said.startswith(f"space {space.name}: ")
        assert f"{name}: missing" in said
        assert f"{name}x: no decision of the space, did you mean " in said
        assert "\n" not in said

    def test_unknown_options_are_all_named_with_the_near_miss(self, space: SearchSpace) -> None:
        genotype = space.sample(np.random.default_rng(0))
        with pytest.raises(UnknownCandidate) as refused:
            space.check({name: f"{option}_" for name, option in genotype.items()})
        said = str(refused.value)
        assert said.startswith(f"space {space.name}: ")
        for option in genotype.values():
            assert f"{option + '_'!r}, did you mean " in said
        assert "\n" not in said

    def test_the_short_form_is_read_back(self, space: SearchSpace, genotypes: list[dict[str, str]]) -> None:
        for genotype in genotypes:
            short = space.short_form(genotype)
            if short is None:
                with pytest.raises(InvalidArchitecture):
                    space.from_short_form(list(genotype.values()))
            else:
                assert space.from_short_form(short) == genotype
                with pytest.raises(InvalidArchitecture):
                    space.from_short_form(short[1:])

    @pytest.mark.parametrize("size", ["64x64", "65x97"])
    def test_the_last_map_has_the_heads_outputs_at_the_images_size(
        self, space: SearchSpace, genotypes: list[dict[str, str]], size: str
    ) -> None:
        resolution = space.check_resolution(Resolution.parse(size))
        for genotype in genotypes:
            network = space.network(genotype, HEAD)
            assert network.inputs == ("x",)
            shapes = network.shapes({"x": (2, 3, *resolution)})
            assert [shapes[name] for name in network.outputs] == [(2, HEAD.outputs, *resolution)]

    def test_every_part_computes_on_the_shapes_it_names(self, space: SearchSpace) -> None:
        for part in space.parts(Resolution(65, 97), HEAD):
            assert set(part.graph.inputs) == set(part.inputs)
            part.graph.shapes(part.inputs)
            assert part.name == (f"{part.slot}.{part.option}" if part.slot else part.option)

    def test_pytorch_and_onnx_agree(self, space: SearchSpace, genotypes: list[dict[str, str]]) -> None:
        torch.manual_seed(0)
        network = space.network(genotypes[0], HEAD)
        image = torch.randn(1, 3, *SIZE)
        module = settled(GraphModule(network))
        tensors = {n: v.numpy() for n, v in module.state_dict().items() if "num_batches" not in n}
        model = to_onnx(network, IMAGE, tensors).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        (theirs,) = session.run(None, {"x": image.numpy()})
        with torch.inference_mode():
            ours = module(image)
        assert isinstance(ours, torch.Tensor)
        assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


def _running(space: SearchSpace, genotype: Genotype) -> list[Part]:
    """The parts of a network, as the marginals of a certain distribution have them."""
    marginals = space.marginals(one_hot(space, [genotype]))
    found = []
    for part in space.parts(SIZE, HEAD):
        times = float(marginals[part.name][0]) if part.name in marginals else 1.0
        assert times in (0.0, 1.0), part.name
        found += [part] * int(times)
    return found


def _kernels(parts: list[Part]) -> list[object]:
    return [kernel for part in parts for kernel in split_into_kernels(part.graph, part.inputs)]


def settled(module: GraphModule) -> GraphModule:
    """With the statistics that training leaves behind: fresh ones let values shrink or grow by thousands.

    They are of images that are unlike each other: of the same one turned about they make rounding grow.
    """
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the average of all batches, of which there is one
    module.train()
    with torch.inference_mode():
        module(torch.randn(4, 3, *SIZE))
    return module.eval()
