"""Which candidate ships: the first, best one that every gate lets through, down to float."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgepack.base import units
from edgepack.base.errors import GateError
from edgepack.data.samples import Dataset, Item
from edgepack.data.split import hold_out
from edgepack.gate import mixed, speed
from edgepack.gate.accuracy import Judged, Limit, judge, not_a_number
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.evaluate import Scored, evaluate
from edgepack.gate.gentler import gentler
from edgepack.gate.prefix import fastest, prefixes
from edgepack.gate.terms import Clocked, Terms
from edgepack.graph.precision import integer_nodes
from edgepack.runtime import machine
from edgepack.runtime.carry import Carry
from edgepack.runtime.session import Options
from edgepack.spec.manifest import Runtime
from edgepack.spec.signature import Sample
from edgepack.spec.step import Skip
from edgepack.spec.target import Target

Items = Dataset | Sequence[Item]
_Passed = tuple[Candidate, Judged, Scored]

_SMALLER = 0.97
"""Share of the float bytes above which a file is not worth calling smaller."""

_FEWEST_GROUPS = 6
"""Groups of evaluation data from which a third can be spared to select on."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidate that ships and what was found about it.

    Attributes:
        candidate: The model.
        judged: Accuracy and fidelity.
        scored: Its outputs on everything that it was judged on.
        items: What it was judged on.
        clocked: What a clock said, by candidate.
        refusals: Why each better candidate does not ship, without figures of a clock.
        speed: What is known of speed, a sentence.
        sentences: What was found and decided, in order.
        mixed: Precisions by node of each candidate that was selected node by node.
    """

    candidate: Candidate
    judged: Judged
    scored: Scored
    items: Items
    clocked: Mapping[str, Clocked]
    refusals: tuple[str, ...]
    speed: str
    sentences: tuple[str, ...]
    mixed: Mapping[str, Mapping[str, str]]


def mode(target: Target) -> Options:
    """Return the session options whose integer products equal the target's.

    Exact mode stands for ARM and VNNI; a target that saturates is run in the default mode, which
    is what ships there, and its weights obey the pair law so that both modes agree.
    """
    saturating = target.int8 is not None and target.int8.saturating
    return Options(exact=not saturating)


class Chooser:
    """Walks down the candidates of one target; what refuses one is a sentence.

    Where the accuracy gate refuses the whole recipe, a third of the evaluation groups selects how
    many sensitive nodes to leave in float, and the other two thirds judge the result: what is
    chosen is never chosen on what is reported.
    """

    def __init__(
        self, rewritten: Rewritten, terms: Terms, runtime: Runtime, tell: Callable[[str], None]
    ) -> None:
        """Prepare a walk.

        Args:
            rewritten: Candidates, best first, float last.
            terms: The gates.
            runtime: What the target needs; tells whether this machine is a device of it.
            tell: Called with each sentence as it is found.
        """
        self._rewritten = rewritten
        self._terms = terms
        self._runtime = runtime
        self._tell = tell
        self._options = mode(rewritten.plan.target)
        self._found = _Found()

    @property
    def rewritten(self) -> Rewritten:
        """The candidates that are walked down."""
        return self._rewritten

    def choose(self, items: Items) -> Chosen:
        """Return the first candidate that every gate lets through.

        Args:
            items: Samples kept out of calibration.

        Raises:
            GateError: No candidate passes, or float would ship where int8 is required.
        """
        chosen = self._walk(items)
        if chosen is None:
            name = self._rewritten.plan.target.name
            why = self._found.refusals[-1] if self._found.refusals else "there is no candidate"
            raise GateError(
                "E-GATE",
                f"nothing passes the gates for {name}: {why}",
                hint="loosen the limit, or give another recipe",
            )
        if self._terms.require_int8 and not integer_nodes(chosen.candidate.model):
            raise self._required()
        return chosen

    def bar(self, chosen: Chosen, reason: str) -> None:
        """Refuse a candidate from now on, because of what was seen after it was chosen."""
        self._refuse(chosen.candidate, reason)
        self._found.barred.add(chosen.candidate.name)

    def _walk(self, items: Items) -> Chosen | None:
        for candidate in self._rewritten.candidates:
            if candidate.name in self._found.barred:
                continue
            judged, scored = self._judge(candidate, items)
            if candidate.lossy and not judged.passed:
                self._refuse(candidate, judged.sentence)
                if (found := self._gentler(items)) is not None:
                    return found
                continue
            if candidate.lossy:
                self._say(f"{candidate.name} passes: {judged.sentence}")
            if (chosen := self._ship(candidate, judged, scored, items)) is not None:
                return chosen
        return None

    def _say(self, sentence: str) -> None:
        self._found.sentences.append(sentence)
        self._tell(f"{self._rewritten.plan.target.name}: {sentence}")

    def _refuse(self, candidate: Candidate, why: str, *, clocked: bool = False) -> None:
        self._say(f"{candidate.name} is refused: {why}")
        told = "it was not shown to be as fast as float32, see the report" if clocked else why
        self._found.refusals.append(f"{candidate.name} is refused: {told}")

    def _judge(self, candidate: Candidate, items: Items) -> tuple[Judged, Scored]:
        float_ = self._float(items)
        same = candidate is self._rewritten.float_
        scored = float_ if same else self._evaluate(candidate, items, self._options)
        where = "exact mode here" if self._options.exact else "default mode here"
        if not isinstance(items, Dataset):
            where = f"{where}, on made-up inputs"
        terms = self._terms
        limit = Limit(terms.metric, terms.max_drop, terms.strict, where)
        rounded = float_ if same else self._scored(self._rewritten.rounded, items)
        return judge(float_, scored, limit, rounded), scored

    def _float(self, items: Items) -> Scored:
        """Return the float model's outputs."""
        new = (self._rewritten.float_.name, id(items)) not in self._found.floats
        scored = self._scored(self._rewritten.float_, items)
        if new and (name := not_a_number(scored)):
            self._say(f"the float model's output {name!r} is not a number on some samples")
        return scored

    def _scored(self, candidate: Candidate, items: Items) -> Scored:
        """Return the outputs of a float model, computed once per data set."""
        key = (candidate.name, id(items))
        if key not in self._found.floats:
            scored = self._evaluate(candidate, items, self._options)
            self._found.floats[key] = (items, scored)
        return self._found.floats[key][1]

    def _evaluate(self, candidate: Candidate, items: Items, options: Options) -> Scored:
        return evaluate(candidate.data, items, self._rewritten.signature, options)

    def _gentler(self, items: Items) -> Chosen | None:
        """Select, on a part of the data, how many nodes to spare; judge on the rest."""
        if not isinstance(items, Dataset) or len(set(items.contents.groups)) < _FEWEST_GROUPS:
            return None
        split = hold_out(items, 2 / 3)
        candidate = self._selected(split.fit)
        if candidate is None:
            self._say("leaving more of its nodes in float does not make it accurate enough")
            return None
        judged, scored = self._judge(candidate, split.held)
        if not judged.passed:
            self._refuse(candidate, judged.sentence)
            return None
        self._say(f"{candidate.name} passes: {judged.sentence}")
        return self._ship(candidate, judged, scored, split.held)

    def _selected(self, items: Dataset) -> Candidate | None:
        """Return the first candidate between all integers and float that passes on ``items``."""

        def passes(each: Candidate) -> bool:
            barred = each.name in self._found.barred
            return not barred and self._judge(each, items)[0].passed

        mixer = mixed.Mixer(self._rewritten, self._terms, self._options, self._say, self._tell)
        if mixer.step is None:
            return next(filter(passes, gentler(self._rewritten, list(items), self._options)), None)
        found = mixer.select(list(items), passes, self._found.barred)
        if found is not None:
            self._found.mixed[found.name] = found.spared
        return found

    def _ship(
        self, candidate: Candidate, judged: Judged, scored: Scored, items: Items
    ) -> Chosen | None:
        """Put an accurate candidate, or what is faster, through the gates of size and time."""
        candidate, judged, scored = self._or_quicker((candidate, judged, scored), items)
        most = self._terms.max_size
        if most is not None and len(candidate.data) > most:
            size = units.size(len(candidate.data))
            self._refuse(candidate, f"{size} exceeds {units.size(most)}")
            return None
        if candidate.lossy and (what := self._gains_nothing(candidate)):
            self._say(what)
        if candidate.lossy:
            self._compare_modes(candidate, scored, items)
        elif why := self._why_float():
            self._say(f"float32 ships: {why}")
        if candidate.storage:
            self._say(candidate.storage)
        clocked, about = self._clock(candidate, items)
        self._found.clocked[candidate.name] = clocked
        if not self._passes(candidate, clocked):
            return None
        found = self._found
        return Chosen(
            candidate,
            judged,
            scored,
            items,
            dict(found.clocked),
            tuple(found.refusals),
            about,
            tuple(found.sentences),
            dict(found.mixed),
        )

    def _or_quicker(self, passed: _Passed, items: Items) -> _Passed:
        """Return what passed, or the same behind a float prefix where that is faster and passes."""
        whole = passed[0]
        if (quicker := self._quicker(whole, items)) is whole:
            return passed
        judged, scored = self._judge(quicker, items)
        if not judged.passed:
            return passed
        self._say(f"{quicker.name} is faster and passes: {judged.sentence}")
        return quicker, judged, scored

    def _quicker(self, whole: Candidate, items: Items) -> Candidate:
        """Return ``whole``, or with a float prefix where this machine runs that faster."""
        terms, known = self._terms, self._terms.replayed
        if not whole.lossy or (known is None and not self._is_timed):
            return whole
        room = math.inf if terms.max_size is None else terms.max_size
        found = [
            each
            for each in prefixes(self._rewritten, whole)
            if len(each.data) <= room and each.name not in self._found.barred
        ]
        if known is not None:
            return next((each for each in found if each.name in known), whole)
        tried = [whole, *found]
        files = [each.data for each in tried]
        return tried[fastest(files, self._sample(items), machine.threads())] if found else whole

    @property
    def _is_timed(self) -> bool:
        """Whether candidates are asked to be fast, on a machine that can tell."""
        terms = self._terms
        asked = terms.objective == "speed" and not terms.require_int8
        return asked and not speed.not_a_device(self._runtime)

    def _gains_nothing(self, candidate: Candidate) -> str:
        """Say that a candidate is neither smaller nor can be shown to be faster, or nothing."""
        share = len(candidate.data) / len(self._rewritten.float_.data)
        if share <= _SMALLER or self._terms.require_int8:
            return ""
        if self._terms.objective == "speed" and not speed.not_a_device(self._runtime):
            return ""
        return (
            f"{candidate.name} has {units.percent(share, 0)} of the bytes of float32 and no device "
            "is here to time it: --recipe float32 may serve as well"
        )

    def _why_float(self) -> str:
        """Say why nothing but float ships although the recipe asked for more, or nothing."""
        graph = self._rewritten.plan.graph
        asked = [bound for bound in graph if bound.use.startswith("quantize")]
        asked = asked or [bound for bound in graph if bound.use == "float16"]
        if not asked:
            return ""
        if self._found.refusals:
            return self._found.refusals[-1]
        skipped = [bound.step.reason for bound in asked if isinstance(bound.step, Skip)]
        left = list(self._rewritten.float_.left.values())
        return next(iter([*skipped, *left]), "no node of it can be quantized")

    def _passes(self, candidate: Candidate, clocked: Clocked) -> bool:
        """Judge what a clock said, now or in the build that is replayed."""
        result, limit = clocked.comparison, self._terms.max_latency
        if result is not None and result.verdict != "not slower":
            self._refuse(candidate, speed.sentence(candidate.name, result), clocked=True)
            return False
        if limit is not None and clocked.latency is not None and clocked.latency > limit:
            took = f"{units.duration(clocked.latency)} at the 90th percentile"
            self._refuse(candidate, f"{took} exceeds {units.duration(limit)}", clocked=True)
            return False
        return True

    def _compare_modes(self, candidate: Candidate, scored: Scored, items: Items) -> None:
        """On a saturating target, show that the default mode computes what exact mode does."""
        if self._options.exact:
            return
        exact = self._evaluate(candidate, items, Options(exact=True))
        pairs = zip(scored.outputs, exact.outputs, strict=True)
        same = sum(all((a[name] == b[name]).all() for name in a) for a, b in pairs)
        self._say(f"default and exact mode agree bit for bit on {same} of {len(exact.outputs)}")

    def _clock(self, candidate: Candidate, items: Items) -> tuple[Clocked, str]:
        """Measure what the terms ask for, or take it from the build that is replayed."""
        terms, target = self._terms, self._rewritten.plan.target
        if terms.replayed is not None:
            known = terms.replayed.get(candidate.name, Clocked())
            about = (
                "" if known.comparison is None else speed.sentence(candidate.name, known.comparison)
            )
            return known, about or "replayed: no clock was asked"
        reason = speed.not_a_device(self._runtime)
        comparison, about = None, "not asked: size comes first"
        if not candidate.lossy:
            about = f"float32 ships: {self._why_float() or 'nothing else was asked for'}"
        elif terms.objective == "speed" and not terms.require_int8 and reason:
            about = f"not shown: this machine is no {target.name}: {reason}"
            self._say(f"speed {about}")
        elif self._is_timed:
            comparison = self._compare(candidate, items)
            about = speed.sentence(candidate.name, comparison)
            self._say(about)
        latency = None
        if terms.max_latency is not None:  # that this machine is a device was checked before
            options = Options(threads=machine.threads())
            latency = speed.latency(candidate.data, self._sample(items), options)
        return Clocked(comparison, latency), about

    def _compare(self, candidate: Candidate, items: Items) -> speed.Comparison:
        float_, sample = self._rewritten.float_.data, self._sample(items)
        return speed.measure(float_, candidate.data, sample, machine.threads())

    def _sample(self, items: Items) -> Sample:
        """Return a full first sample, state included."""
        first = next(iter(items)).samples[0]
        return Carry(self._rewritten.signature).fill(first)

    def _required(self) -> GateError:
        """Say why no int8 ships although it is required: a gate, a skipped step, nothing to do."""
        plan = self._rewritten.plan
        skipped = [
            bound.step.reason
            for bound in plan.graph
            if isinstance(bound.step, Skip) and bound.use.startswith("quantize")
        ]
        reasons = [*self._found.refusals, *skipped, "no node of it can be quantized"]
        return GateError(
            "E-GATE",
            f"int8 is required for {plan.target.name} and does not ship: {reasons[0]}",
            hint="raise --max-drop, give more calibration data, or leave --require out",
        )


@dataclass(slots=True)
class _Found:
    """What a walk has found so far."""

    sentences: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    clocked: dict[str, Clocked] = field(default_factory=dict)
    barred: set[str] = field(default_factory=set)
    mixed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    floats: dict[tuple[str, int], tuple[Items, Scored]] = field(default_factory=dict)
