"""How far up which nodes go: the fewest that the gate accepts, those of most noise first.

Nodes go one by one from int8 to the next wider precision; when all have gone and the gate still
refuses, one by one to the next. Where a node alone takes as long in a precision as in a wider one,
the clock refuses the narrower, and the node goes on to the wider.

Counts of instructions never decide here: without a device of the target no price is known, nodes
are ranked by noise alone, and that is said.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgepack.base.files import sha256, write_whole
from edgepack.data.samples import Item
from edgepack.gate.alone import alone
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.sensitivity import Layer, Sensitivity, encode, load, noises
from edgepack.gate.terms import Terms
from edgepack.graph.precision import integer_nodes
from edgepack.passes.mixed_precision import MixedPrecision
from edgepack.plan import Plan
from edgepack.runtime.carry import Carry
from edgepack.runtime.emulation import default_cache
from edgepack.runtime.session import Options, version

_MARGIN = 8
"""Nodes that go up for one more: the fewest that pass on some samples are too few on others."""

_LEAST_GAIN = 0.01
"""Of its time: what a node is taken to save at least, lest the noise of a clock rank."""

_TOLD = 3
"""Nodes named as the worst."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Assignments of precisions, each wider than the one before.

    Attributes:
        order: Nodes, the first to leave int8 first.
        wider: Precisions above int8.
        layers: What each node costs.
    """

    order: tuple[str, ...]
    wider: tuple[str, ...]
    layers: Mapping[str, Layer]

    def __len__(self) -> int:
        """Return the number of assignments that leave a node below the widest."""
        return len(self.order) * len(self.wider) - 1

    def rung(self, count: int) -> dict[str, str]:
        """Return node -> precision after ``count`` steps up; those that stay in int8 left out."""
        every, more = divmod(count, len(self.order))
        above = [every + (index < more) for index in range(len(self.order))]
        return {
            name: self._quickest(name, self.wider[steps - 1 :])
            for name, steps in zip(self.order, above, strict=True)
            if steps
        }

    def _quickest(self, name: str, wider: Sequence[str]) -> str:
        """Return the narrowest of some precisions, or a wider one that takes no longer."""
        seconds = self.layers[name].seconds
        if not all(kind in seconds for kind in wider):
            return wider[0]
        return min(reversed(wider), key=lambda kind: seconds[kind])


def step_of(plan: Plan) -> MixedPrecision | None:
    """Return the step of a plan that allows mixed precision, if one does."""
    steps = (bound.step for bound in plan.graph)
    return next((step for step in steps if isinstance(step, MixedPrecision)), None)


@dataclass(frozen=True, slots=True)
class Mixer:
    """Finds the assignment for one target.

    Attributes:
        rewritten: The candidates so far.
        terms: The clock of the target, if one is at hand, and what an earlier build selected.
        options: The mode that stands for the target.
        say: Takes each sentence of what was found.
        tell: Takes each sentence of progress.
    """

    rewritten: Rewritten
    terms: Terms
    options: Options
    say: Callable[[str], None]
    tell: Callable[[str], None]

    @property
    def step(self) -> MixedPrecision | None:
        """What the recipe allows; None where it does not ask for mixed precision."""
        return step_of(self.rewritten.plan)

    def select(
        self,
        items: Sequence[Item],
        passes: Callable[[Candidate], bool],
        barred: Collection[str],
    ) -> Candidate | None:
        """Return the narrowest assignment that passes, and a few nodes more; None if none does.

        Args:
            items: Samples to rank on; never those that are reported.
            passes: Whether the gate accepts a candidate on them.
            barred: Names of candidates that were refused later.
        """
        if self.terms.replayed is not None:
            old = map(self.candidate, self.terms.mixed.values())
            return next((each for each in old if each.name not in barred), None)
        nodes = integer_nodes(self.rewritten.candidates[0].model)
        if not nodes:
            return None
        ladder = self._ladder(nodes, items)
        found = _least(len(ladder), lambda count: passes(self.candidate(ladder.rung(count))))
        if found is None:
            return None
        more = self.candidate(ladder.rung(min(found + max(1, found // _MARGIN), len(ladder))))
        return more if passes(more) else self.candidate(ladder.rung(found))

    def candidate(self, wide: Mapping[str, str]) -> Candidate:
        """Return the recipe with that assignment."""
        made, counts = self.rewritten.refold(wide), Counter(wide.values())
        told = "".join(f", {counts[kind]} in {kind}" for kind in sorted(counts))
        return replace(made, name=f"mixed: {len(integer_nodes(made.model))} nodes in int8{told}")

    def _ladder(self, nodes: Sequence[str], items: Sequence[Item]) -> Ladder:
        target = self.rewritten.plan.target
        assert self.step is not None
        wider = self.step.wider(target)
        for kind in self.step.precisions[1:]:
            if kind not in wider:
                self.say(f"{kind} is passed over: {target.name} has no kernels that gain by it")
        layers = self._sensitivity(nodes, wider, items).layers
        priced = all({"int8", wider[0]} <= layer.seconds.keys() for layer in layers.values())
        worth = {
            name: layer.noise / (_gain(layer, wider[0]) if priced else 1)
            for name, layer in layers.items()
        }
        order = tuple(sorted(nodes, key=lambda name: -worth[name]))  # ties keep the graph's order
        worst = ", ".join(f"{name} {layers[name].noise:.2g}" for name in order[:_TOLD])
        by = "noise for the seconds that int8 saves" if priced else "noise alone, no price is known"
        self.say(f"{len(nodes)} nodes ranked by {by}; noise over signal of the first: {worst}")
        return Ladder(order, wider, layers)

    def _sensitivity(
        self, nodes: Sequence[str], wider: Sequence[str], items: Sequence[Item]
    ) -> Sensitivity:
        """Read what was edited or measured before, or measure and keep it."""
        assert self.step is not None
        if self.step.sensitivity:
            return load(Path(self.step.sensitivity), nodes)
        path = self._path(items)
        if not path.is_file():
            self.tell(f"measuring the sensitivity of {len(nodes)} nodes, one at a time")
            found = noises(self.rewritten, nodes, items, self.options)
            seconds = self._seconds(nodes, wider, items)
            layers = {name: Layer(found[name], seconds[name]) for name in nodes}
            write_whole(path, encode(Sensitivity(layers)))
        self.tell(f"sensitivity of {len(nodes)} nodes, to read and to edit: {path}")
        return load(path, nodes)

    def _path(self, items: Sequence[Item]) -> Path:
        """Return where what these models, samples and clock gave is kept."""
        state = hashlib.sha256(version().encode())
        for model in (self.rewritten.candidates[0].data, self.rewritten.rounded.data):
            state.update(sha256(model).encode())
        for array in (a for item in items for s in item.samples for _, a in sorted(s.items())):
            state.update(repr((array.dtype, array.shape)).encode())
            state.update(repr(array.tolist()).encode() if array.dtype.kind in "UO" else array.data)
        state.update(repr((self.options, self.step, self.terms.price)).encode())
        return default_cache() / "sensitivity" / f"{state.hexdigest()[:24]}.toml"

    def _seconds(
        self, nodes: Sequence[str], wider: Sequence[str], items: Sequence[Item]
    ) -> dict[str, dict[str, float]]:
        """Time each node alone in each precision, where there is a clock."""
        found: dict[str, dict[str, float]] = {name: {} for name in nodes}
        price = self.terms.price
        if price is None:
            return found
        sample = Carry(self.rewritten.signature).fill(items[0].samples[0])
        for kind in ("int8", *wider):
            self.tell(f"timing {len(nodes)} nodes in {kind}, each alone")
            wide = {} if kind == "int8" else dict.fromkeys(nodes, kind)
            for name, (data, fed) in alone(
                self.rewritten.refold(wide).model, nodes, sample
            ).items():
                found[name][kind] = price.seconds(data, fed)
        return found


def _gain(layer: Layer, wider: str) -> float:
    """Return the seconds that a node saves in int8."""
    own = layer.seconds["int8"]
    return max(layer.seconds[wider] - own, _LEAST_GAIN * own, 1e-12)


def _least(most: int, passes: Callable[[int], bool]) -> int | None:
    """Return the least count from 1 to ``most`` that passes, by doubling and then halving.

    Passing is taken to be monotone between what was tried; what is returned was seen to pass.
    """
    failed = 0
    for count in _doubled(most):
        if passes(count):
            break
        failed = count
    else:
        return None
    while count - failed > 1:
        middle = (count + failed) // 2
        count, failed = (middle, failed) if passes(middle) else (count, middle)
    return count


def _doubled(most: int) -> Iterator[int]:
    count = 1
    while count < most:
        yield count
        count *= 2
    if most > 0:
        yield most
