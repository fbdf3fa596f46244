"""Between all integers and float: what is tried where the accuracy gate refuses the whole recipe.

First the recipe behind equalization, which keeps every node in integers and costs one more
calibration. Then the most sensitive nodes are left in float, in whichever of the two came closer.

A part of the evaluation data selects, the rest judges: what is chosen is never chosen on what is
reported.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from edgepack.data.samples import Dataset
from edgepack.gate.accuracy import Judged
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.equalized import equalized
from edgepack.gate.gentler import gentler
from edgepack.gate.mixed import Mixer

Judge = Callable[[Candidate, Dataset], Judged]


@dataclass(slots=True)
class Fallback:
    """Offers candidates that pass on the samples that select.

    Attributes:
        mixer: Holds the candidates so far, and selects node by node where the recipe asks for it.
        judge: The accuracy gate.
        barred: Names of candidates that were refused later.
    """

    mixer: Mixer
    judge: Judge
    barred: Collection[str]
    _balanced: Rewritten | None = field(default=None, init=False)
    _tried: bool = field(default=False, init=False)

    def maker(self, candidate: Candidate) -> Rewritten:
        """Return what makes a candidate again with other nodes spared."""
        return self._balanced if candidate.equalized and self._balanced else self.mixer.rewritten

    def offers(self, items: Dataset) -> Iterator[Candidate]:
        """Yield candidates that pass on ``items``, those that spare fewest nodes first."""

        def passes(each: Candidate) -> bool:
            return each.name not in self.barred and self.judge(each, items).passed

        if self.mixer.step is not None:
            if found := self.mixer.select(list(items), passes, self.barred):
                yield found
            return
        base = self.mixer.rewritten
        if (other := self._other()) is not None:
            whole = other.candidates[0]
            judged = self.judge(whole, items)
            if judged.passed and whole.name not in self.barred:
                yield whole
            elif not judged.passed:
                self.mixer.say(f"{whole.name} does not pass where it is tried: {judged.sentence}")
            base = other if _closer(judged, self.judge(base.candidates[0], items)) else base
        ladder = gentler(base, list(items), self.mixer.options)
        if (first := next(filter(passes, ladder), None)) is not None:
            yield first

    def _other(self) -> Rewritten | None:
        """Return the recipe behind equalization, made once; say once why there is none."""
        if not self._tried:
            self._tried = True
            self._balanced, why = equalized(self.mixer.rewritten)
            if why:
                self.mixer.say(why)
        return self._balanced


def _closer(one: Judged, other: Judged) -> bool:
    """Whether one lost less than the other: of the metric, and where that is level, in noise."""
    return _loss(one) < _loss(other)


def _loss(judged: Judged) -> tuple[float, float]:
    drop = 0.0 if judged.accuracy is None else judged.accuracy.drop
    return drop, float("-inf") if judged.cost_db is None else -judged.cost_db
