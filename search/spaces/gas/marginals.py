"""How often each part runs, where the operations of all edges are drawn independently.

Three things decide: what the cells before give (0, 1 or 2 nodes each), what is drawn for the cell's own
edges, and whether a later cell reads it. Cells are drawn independently, so the first is a walk forward along
the chain, the last one a walk backward, and a part's probability their product.

Numpy or PyTorch alike: only arithmetic of whole arrays, every sum in a stated order, so that both give the
same bits. ``Odds`` is an array of shape (...).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from search.spaces.gas.chain import EDGES, INPUTS, NODES, ZERO, CellChain
from search.spaces.gas.names import decoder_name, edge_name, input_name, output_name, sum_name
from search.spaces.gas.nodes import summed
from search.spaces.gas.operations import Kind, kind_of, wants_relu
from search.spaces.gas.walk import decision
from search.spaces.space import A

Odds = Any
States = dict[tuple[int, int], Odds]
"""How many nodes the two cells before gave -> how probable that is."""
_INTO = {node: [place for place, edge in enumerate(EDGES) if edge.node == node] for node in (1, 2)}


def marginals(chain: CellChain, probabilities: Mapping[str, A]) -> dict[str, A]:
    """Name of a part -> how often it runs."""
    cells = [_Drawn.of(chain, index, probabilities) for index in range(chain.cells)]
    read = _read(cells)
    found: dict[str, Any] = {}
    states: States = {(NODES, NODES): read[-1]}
    for cell, chance in zip(cells, read, strict=True):
        there = {state: odds * chance for state, odds in states.items()}
        for name, odds in cell.parts(there):
            found[name] = found[name] + odds if name in found else odds
        states = cell.after(states)
    for nodes in (1, 2):
        rows = [odds for (_, given), odds in states.items() if given == nodes]
        if rows:
            found[decoder_name(nodes)] = _total(rows)
    return found


def _read(cells: Sequence["_Drawn"]) -> list[Odds]:
    """How often something that reaches the decoder reads each cell."""
    one = cells[-1].zero[0] * 0 + 1
    # whether the cell is read, and whether the one after it reads it as its input 0, once that is read
    odds: dict[tuple[bool, bool], Odds] = {(True, False): one}
    found = []
    for cell in reversed(cells):
        found.append(_total([value for (is_read, _), value in odds.items() if is_read]))
        new: dict[tuple[bool, bool], list[Odds]] = {}
        for (is_read, skips), value in odds.items():
            for from_0, from_1 in product((False, True), repeat=2):
                share = value * cell.reads(0, from_0) * cell.reads(1, from_1)
                new.setdefault(((is_read and from_1) or skips, is_read and from_0), []).append(share)
        odds = {state: _total(shares) for state, shares in new.items()}
    return found[::-1]


@dataclass(frozen=True)
class _Drawn:
    """What is drawn for a cell.

    Attributes:
        options: of each edge, (..., operations).
        zero: of each edge, that it is a zero.
        kinds: of each edge, what comes of it if its source gives something.
    """

    chain: CellChain
    index: int
    options: Sequence[Odds]
    zero: Sequence[Odds]
    kinds: Sequence[Mapping[Kind | None, Odds]]

    @classmethod
    def of(cls, chain: CellChain, index: int, probabilities: Mapping[str, Any]) -> "_Drawn":
        options = [probabilities[decision(index, edge.name)] for edge in EDGES]
        kinds: list[Mapping[Kind | None, Odds]] = []
        for edge, odds in zip(EDGES, options, strict=True):
            strided = edge.from_input and chain.reduces(index)
            rows: dict[Kind | None, list[Odds]] = {}
            for place, name in enumerate(chain.operations):
                rows.setdefault(kind_of(name, strided=strided), []).append(odds[..., place])
            kinds.append({kind: _total(own) for kind, own in rows.items()})
        never = options[0][..., 0] * 0
        return cls(chain, index, options, [own.get(None, never) for own in kinds], kinds)

    def reads(self, source: int, wanted: bool) -> Odds:
        """How often one of its edges from an input is none of zero, or all are."""
        zeros = [self.zero[place] for place, edge in enumerate(EDGES) if edge.source == source]
        none = zeros[0] * zeros[1]
        return 1 - none if wanted else none

    def after(self, states: States) -> States:
        """What the cell before and this one gave."""
        rows: dict[tuple[int, int], list[Odds]] = {}
        for (first, second), odds in states.items():
            for nodes, chance in self._nodes(bool(first), bool(second)).items():
                rows.setdefault((second, sum(nodes)), []).append(odds * chance)
        return {state: _total(own) for state, own in rows.items()}

    def _nodes(self, first: bool, second: bool) -> dict[tuple[bool, bool], Odds]:
        """Which nodes give something, where these inputs do -> how probable that is."""
        if ZERO not in self.chain.operations:
            return {(True, True): self.zero[0] * 0 + 1}
        found: dict[tuple[bool, bool], Odds] = {}
        none_1 = self._nothing(1, (first, second, False))
        none_2 = {middle: self._nothing(2, (first, second, middle)) for middle in (False, True)}
        for middle, odds in ((True, 1 - none_1), (False, none_1)):
            found[middle, True] = odds * (1 - none_2[middle])
            found[middle, False] = odds * none_2[middle]
        return found

    def _nothing(self, node: int, there: tuple[bool, bool, bool]) -> Odds:
        """That all edges into a node give zeros, where these sources give something."""
        odds = self.zero[0] * 0 + 1
        for place in _INTO[node]:
            if there[EDGES[place].source]:
                odds = odds * self.zero[place]
        return odds

    def parts(self, states: States) -> Iterator[tuple[str, Odds]]:
        """Names, some more than once, and how often they run; ``states`` are those in which it is read."""
        for source in range(INPUTS):
            yield from self._inputs(source, states)
        both: dict[tuple[bool, bool], list[Odds]] = {}
        for state, odds in states.items():
            both.setdefault((bool(state[0]), bool(state[1])), []).append(odds)
        for (first, second), rows in both.items():
            odds = _total(rows)
            none_1 = self._nothing(1, (first, second, False))
            yield from self._sums(1, (first, second, False), odds)
            yield from self._sums(2, (first, second, True), odds * (1 - none_1))
            if ZERO in self.chain.operations:
                yield from self._sums(2, (first, second, False), odds * none_1)
            for nodes, chance in self._nodes(first, second).items():
                if any(nodes):
                    yield output_name(self.index, sum(nodes)), odds * chance

    def _inputs(self, source: int, states: States) -> Iterator[tuple[str, Odds]]:
        strided = self.chain.reduces(self.index)
        readers: list[dict[tuple[bool, bool], Odds]] = []
        for place, edge in enumerate(EDGES):
            if edge.source == source:
                rows: dict[tuple[bool, bool], list[Odds]] = {}
                for option, name in enumerate(self.chain.operations):
                    relu = wants_relu(name, strided=strided)
                    wants = (name != ZERO and not relu, name != ZERO and relu)
                    rows.setdefault(wants, []).append(self.options[place][..., option])
                readers.append({wants: _total(own) for wants, own in rows.items()})
        for nodes in (1, 2):
            rows_of = [odds for state, odds in states.items() if state[source] == nodes]
            if not rows_of:
                continue
            coming = _total(rows_of)
            for one, other in product(*readers):
                raw, relu = one[0] or other[0], one[1] or other[1]
                if raw or relu:
                    name = input_name(self.index, source, nodes, raw=raw, relu=relu)
                    yield name, coming * readers[0][one] * readers[1][other]

    def _sums(self, node: int, there: tuple[bool, bool, bool], odds: Odds) -> Iterator[tuple[str, Odds]]:
        """Operations of the edges into a node, and what adds them, where these sources give something."""
        places = _INTO[node]
        never: Mapping[Kind | None, Odds] = {None: odds * 0 + 1}
        kinds = [self.kinds[place] if there[EDGES[place].source] else never for place in places]
        endings: dict[tuple[int, Kind, str], list[Odds]] = {}
        for combination in product(*kinds):
            how = summed(combination)
            shares = [own[kind] for own, kind in zip(kinds, combination, strict=True)]
            for at in how.order:
                kind = combination[at]
                assert kind is not None
                others = [share for other, share in enumerate(shares) if other != at]
                endings.setdefault((at, kind, how.endings[at]), []).append(_product(odds, others))
            if how.alone:
                yield sum_name(self.index, node, how.alone), _product(odds, shares)
        for (at, kind, ending), rows in endings.items():
            edge, chance = EDGES[places[at]], _total(rows)
            strided = edge.from_input and self.chain.reduces(self.index)
            for option, name in enumerate(self.chain.operations):
                if kind_of(name, strided=strided) == kind:
                    own = chance * self.options[places[at]][..., option]
                    yield edge_name(self.index, edge.name, name + ending), own


def _product(first: Odds, others: Sequence[Odds]) -> Odds:
    for other in others:
        first = first * other
    return first


def _total(values: Sequence[Odds]) -> Odds:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
