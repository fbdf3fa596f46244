"""Which candidate ships: the first, best one that every gate lets through, down to float."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgepack.base import units
from edgepack.base.errors import MachineError
from edgepack.data.samples import Dataset, Item
from edgepack.gate import peer, size, speed
from edgepack.gate.accuracy import Judged, Limit, judge, not_a_number
from edgepack.gate.advice import advice
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.evaluate import Scored, evaluate
from edgepack.gate.fallback import Fallback
from edgepack.gate.mixed import Mixer
from edgepack.gate.peer import Peer
from edgepack.gate.place import Place
from edgepack.gate.prefix import fastest, prefixes
from edgepack.gate.terms import Clocked, Terms, not_shown, nothing_passes, required, why_float
from edgepack.graph.picked import picked_outputs
from edgepack.graph.precision import integer_nodes
from edgepack.runtime.carry import Carry
from edgepack.runtime.session import Options
from edgepack.spec.signature import Sample
from edgepack.spec.target import Target

Items = Dataset | Sequence[Item]
_Passed = tuple[Candidate, Judged, Scored]


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
        advice: What to ask for next, where accuracy kept most of the model out of integers.
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
    advice: str = ""


def mode(target: Target) -> Options:
    """Return the session options whose integer products equal the target's.

    Exact mode stands for ARM and VNNI; a target that saturates is run in the default mode, which
    is what ships there, and its weights obey the pair law so that both modes agree.
    """
    saturating = target.int8 is not None and target.int8.saturating
    return Options(exact=not saturating)


class Chooser:
    """Walks down the candidates of one target; what refuses one is a sentence.

    Where the accuracy gate refuses the whole recipe, a third of the evaluation groups selects what
    comes between it and float, see ``fallback``, and the other two thirds judge the result.
    """

    def __init__(
        self, rewritten: Rewritten, terms: Terms, place: Place, tell: Callable[[str], None]
    ) -> None:
        """Prepare a walk.

        Args:
            rewritten: Candidates, best first, float last.
            terms: The gates.
            place: Where candidates are timed.
            tell: Called with each sentence as it is found.
        """
        self._rewritten = rewritten
        self._terms = terms
        self._place = place
        self._tell = tell
        self._options = mode(rewritten.plan.target)
        self._peer = Peer(rewritten)
        self._found = _Found()
        self._mixer = Mixer(rewritten, terms, self._options, self._say, tell)
        self._fallback = Fallback(
            self._mixer, lambda each, items: self._judge(each, items)[0], self._found.barred
        )

    @property
    def rewritten(self) -> Rewritten:
        """The candidates that are walked down."""
        return self._rewritten

    def choose(self, items: Items) -> Chosen:
        """Return the first candidate that every gate lets through.

        Args:
            items: Samples kept out of calibration.

        Raises:
            GateError: No candidate passes, or float would ship where int8 is required, or where
                a strict limit was met on the samples and not shown by their interval.
        """
        chosen = self._walk(items)
        if chosen is None:
            raise nothing_passes(self._rewritten.plan, self._found.refusals)
        if self._terms.require_int8 and not integer_nodes(chosen.candidate.model):
            raise required(self._rewritten, self._found.refusals)
        if self._found.unshown and not chosen.candidate.lossy:
            raise not_shown(self._rewritten.plan, self._found.unshown)
        return chosen

    def bar(self, chosen: Chosen, reason: str) -> None:
        """Refuse a candidate from now on, because of what was seen after it was chosen."""
        self._refuse(chosen.candidate, reason)
        self._found.barred.add(chosen.candidate.name)

    def _walk(self, items: Items) -> Chosen | None:
        for candidate in self._offers():
            if candidate.name in self._found.barred:
                continue
            judged, scored = self._judge(candidate, items)
            if candidate.lossy and not judged.passed:
                self._refuse(candidate, judged.sentence)
                self._found.unshown = self._found.unshown or judged.unshown
                self._found.inaccurate |= not judged.unshown
                ours = candidate.name != peer.NAME
                if ours and (found := self._gentler(items)) is not None:
                    return found
                continue
            if candidate.lossy:
                self._say(f"{candidate.name} passes: {judged.sentence}")
            if (chosen := self._ship(candidate, judged, scored, items)) is not None:
                return chosen
        return None

    def _offers(self) -> Iterator[Candidate]:
        """Yield ours, then what ONNX Runtime's tool makes unless it was too slow, then float."""
        *lossy, float_ = self._rewritten.candidates
        yield from lossy
        # where ours was too slow, the tool's was not clearly faster, or it would have shipped
        if lossy and not self._found.slow and (made := self._peers()) is not None:
            yield made
        yield float_

    def _peers(self) -> Candidate | None:
        """Return the candidate of ONNX Runtime's tool; say once why there is none."""
        made = self._peer.candidate()
        if made is None and self._peer.why_not not in {"", *self._found.sentences}:
            self._say(self._peer.why_not)
        return made

    def _say(self, sentence: str) -> None:
        self._found.sentences.append(sentence)
        self._tell(f"{self._rewritten.plan.target.name}: {sentence}")

    def _refuse(self, candidate: Candidate, why: str, *, told: str = "") -> None:
        """Refuse; ``told`` takes the place of figures of a clock, which may differ next time."""
        self._say(f"{candidate.name} is refused: {why}")
        self._found.refusals.append(f"{candidate.name} is refused: {told or why}")
        self._found.slow |= bool(told)

    def _judge(self, candidate: Candidate, items: Items) -> tuple[Judged, Scored]:
        float_ = self._float(items)
        same = candidate is self._rewritten.float_
        scored = float_ if same else self._evaluate(candidate, items, self._options)
        where = "exact mode here" if self._options.exact else "default mode here"
        if not isinstance(items, Dataset):
            where = f"{where}, on made-up inputs"
        terms = self._terms
        picked = picked_outputs(self._rewritten.float_.model)
        limit = Limit(terms.metric, terms.max_drop, terms.strict, where, picked)
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
        """Select, on a part of the data, what comes before float; judge on the rest."""
        split = self._fallback.split(items) if isinstance(items, Dataset) else None
        if split is None:
            return None
        for candidate in self._fallback.offers(split.fit):
            if self._mixer.step is not None:
                self._found.mixed[candidate.name] = candidate.spared
            judged, scored = self._judge(candidate, split.held)
            if judged.passed:
                self._say(f"{candidate.name} passes: {judged.sentence}")
                return self._ship(candidate, judged, scored, split.held)
            self._refuse(candidate, judged.sentence)
        return None

    def _ship(
        self, candidate: Candidate, judged: Judged, scored: Scored, items: Items
    ) -> Chosen | None:
        """Put an accurate candidate, or what is faster, through the gates of size and time."""
        candidate, judged, scored = self._or_quicker((candidate, judged, scored), items)
        float_, timed = self._rewritten.float_, not self._place.nowhere
        if why := size.too_big(candidate, float_, self._terms):
            self._refuse(candidate, why)
            return None
        if candidate.lossy and (
            what := size.gains_nothing(candidate, float_, self._terms, timed=timed)
        ):
            self._say(what)
        if candidate.lossy:
            self._compare_modes(candidate, scored, items)
        elif why := why_float(self._rewritten, self._found.refusals):
            self._say(f"{candidate.name} ships: {why}")
        if candidate.storage:
            self._say(candidate.storage)
        clocked, about = self._clock(candidate, items)
        self._found.clocked[candidate.name] = clocked
        if not self._passes(candidate, clocked):
            return None
        found = self._found
        next_ = advice(self._rewritten, candidate) if found.inaccurate else ""
        if next_:
            self._say(next_)
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
            next_,
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
        """Return ``whole``, or with a float prefix where that is faster."""
        terms, known = self._terms, self._terms.replayed
        if not whole.lossy or (known is None and not self._is_timed) or whole.name == peer.NAME:
            return whole
        room = math.inf if terms.max_size is None else terms.max_size
        others = [self._peers()] if known is None or peer.NAME in known else []
        found = [
            each
            for each in (*prefixes(self._fallback.maker(whole), whole), *others)
            if each and len(each.data) <= room and each.name not in self._found.barred
        ]
        if known is not None:
            return next((each for each in found if each.name in known), whole)
        tried = [whole, *found]
        files = [each.data for each in tried]
        try:
            return tried[fastest(files, self._sample(items), self._place)] if found else whole
        except MachineError as error:  # a device that breaks costs what it would have told
            self._say(f"float prefixes are not tried: {error}")
            return whole

    @property
    def _is_timed(self) -> bool:
        """Whether candidates are asked to be fast, on a machine that can tell."""
        terms = self._terms
        asked = terms.objective == "speed" and not terms.require_int8
        return asked and not self._place.nowhere

    def _passes(self, candidate: Candidate, clocked: Clocked) -> bool:
        """Judge what a clock said, now or in the build that is replayed."""
        result, limit = clocked.comparison, self._terms.max_latency
        if result is not None and result.verdict != "not slower":
            told = "it was not shown to be as fast as float32, see the report"
            self._refuse(candidate, speed.sentence(candidate.name, result), told=told)
            return False
        if limit is not None and clocked.latency is not None and clocked.latency > limit:
            took = f"{units.duration(clocked.latency)} at the 90th percentile"
            over = f"exceeds {units.duration(limit)}"
            told = f"its 90th percentile {over}, see the report"
            self._refuse(candidate, f"{took} {over}", told=told)
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
        reason = self._place.nowhere
        comparison, about = None, "not asked: size comes first"
        if not candidate.lossy:
            why = why_float(self._rewritten, self._found.refusals)
            about = f"{candidate.name} ships: {why or 'nothing else was asked for'}"
        elif terms.objective == "speed" and not terms.require_int8 and reason:
            about = f"not shown: no device of {target.name} is here: {reason}"
        elif self._is_timed:
            comparison, about = self._compare(candidate, items)
        if comparison is not None or about.startswith("not shown"):
            self._say(about if comparison else f"speed {about}")
        latency = None
        if terms.max_latency is not None:  # that there is a device was checked before
            options = Options(threads=self._place.threads)
            latency = speed.latency(candidate.data, self._sample(items), options, self._place)
        return Clocked(comparison, latency), about

    def _compare(self, candidate: Candidate, items: Items) -> tuple[speed.Comparison | None, str]:
        """Compare with float; a device that breaks meanwhile shows nothing, and refuses nothing."""
        float_, sample = self._rewritten.float_.data, self._sample(items)
        try:
            found = speed.measure(float_, candidate.data, sample, self._place)
        except MachineError as error:
            return None, f"not shown: {error}"
        return found, speed.sentence(candidate.name, found)

    def _sample(self, items: Items) -> Sample:
        """Return a full first sample, state included."""
        first = next(iter(items)).samples[0]
        return Carry(self._rewritten.signature).fill(first)


@dataclass(slots=True)
class _Found:
    """What a walk has found so far."""

    sentences: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    clocked: dict[str, Clocked] = field(default_factory=dict)
    barred: set[str] = field(default_factory=set)
    slow: bool = False
    inaccurate: bool = False
    unshown: str = ""
    mixed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    floats: dict[tuple[str, int], tuple[Items, Scored]] = field(default_factory=dict)
