"""Between all integers and float: what is tried where the accuracy gate refuses the whole recipe.

First the recipe behind equalization, which keeps every node in integers and costs one more
calibration. Then the most sensitive nodes are left in float, in whichever of the two came closer.

A part of the evaluation data selects, the rest judges: what is chosen is never chosen on what is
reported.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from edgepack.data.samples import Dataset
from edgepack.data.split import Split, hold_out
from edgepack.gate.accuracy import Judged
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.equalized import equalized
from edgepack.gate.gentler import gentler
from edgepack.gate.mixed import Mixer

_FEWEST_GROUPS = 6
"""Groups of evaluation data from which some can be spared to select on."""

_SELECTS = 1 / 3
"""Of the evaluation data."""

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

    def split(self, items: Dataset) -> Split | None:
        """Part what selects, a third of the groups, from what judges; say where that cannot be."""
        if (count := len(set(items.contents.groups))) < _FEWEST_GROUPS:
            self.mixer.say(
                f"nothing between int8 and float is tried: {count} groups of evaluation samples "
                f"are too few to select on, {_FEWEST_GROUPS} are needed"
            )
            return None
        return hold_out(items, 1 - _SELECTS)

    def offers(self, items: Dataset) -> Iterator[Candidate]:
        """Yield candidates that pass on ``items``, those that spare fewest nodes first."""
        tried, passed = list[Judged](), False

        def judge(each: Candidate) -> Judged:
            tried.append(self.judge(each, items))
            return tried[-1]

        for found in self._passing(items, judge):
            passed = True
            yield found
        if not passed:
            self.mixer.say(_why_none(tried))

    def _passing(self, items: Dataset, judge: Callable[[Candidate], Judged]) -> Iterator[Candidate]:
        def passes(each: Candidate) -> bool:
            return each.name not in self.barred and judge(each).passed

        if self.mixer.step is not None:
            if found := self.mixer.select(list(items), passes, self.barred):
                yield found
            return
        base = self.mixer.rewritten
        if (other := self._other()) is not None:
            whole = other.candidates[0]
            judged = judge(whole)
            if judged.passed and whole.name not in self.barred:
                yield whole
            elif not judged.passed:
                self.mixer.say(f"{whole.name} does not pass where it is tried: {judged.sentence}")
            plain = self.judge(base.candidates[0], items)
            base = other if _loss(judged) < _loss(plain) else base
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


def _why_none(tried: Sequence[Judged]) -> str:
    """Say that leaving nodes in float does not help, or that too few samples could show it."""
    unclear = [judged for judged in tried if judged.needs]
    if not unclear:
        return "leaving more of its nodes in float does not make it accurate enough"
    best = min(unclear, key=_loss)
    return (
        f"too few samples select to tell whether leaving nodes in float helps: {best.sentence}; "
        f"about {round(best.needs / _SELECTS)} evaluation samples would, of which a third selects"
    )


def _loss(judged: Judged) -> tuple[float, float]:
    """Return what orders candidates: the drop of the metric, and where that is level, noise."""
    drop = 0.0 if judged.accuracy is None else judged.accuracy.drop
    return drop, float("-inf") if judged.cost_db is None else -judged.cost_db
