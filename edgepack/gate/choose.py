"""Which candidate ships: the first, best one that every gate lets through, down to float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgepack.base import units
from edgepack.base.errors import GateError, MachineError
from edgepack.data.metrics import Metric
from edgepack.data.samples import Dataset, Item
from edgepack.data.split import hold_out
from edgepack.gate import speed
from edgepack.gate.accuracy import Judged, Limit, judge
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.evaluate import Scored, evaluate
from edgepack.gate.gentler import gentler
from edgepack.graph.precision import integer_nodes
from edgepack.runtime import machine
from edgepack.runtime.carry import Carry
from edgepack.runtime.session import Options
from edgepack.spec.manifest import Runtime
from edgepack.spec.signature import Sample
from edgepack.spec.step import Skip
from edgepack.spec.target import Target

Items = Dataset | Sequence[Item]

_FEWEST_GROUPS = 6
"""Groups of evaluation data from which a third can be spared to select on."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What must hold for an artifact to ship.

    Attributes:
        metric: None where fidelity is the gate.
        name: Of the metric.
        max_drop: Loss allowed; None for the default.
        strict: Whether the interval must hold the limit too.
        objective: ``speed`` asks that int8 is not slower than float where that can be seen.
        require_int8: Fail rather than ship float.
        max_size: Bytes of the model file, None for no limit.
        max_latency: Seconds at the 90th percentile on this machine, None for no limit.
        replayed: Name of the candidate that an earlier build chose, None to choose anew.
    """

    metric: Metric | None = None
    name: str = ""
    max_drop: float | None = None
    strict: bool = False
    objective: Literal["speed", "size"] = "speed"
    require_int8: bool = False
    max_size: int | None = None
    max_latency: float | None = None
    replayed: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidate that ships and what was found about it.

    Attributes:
        candidate: The model.
        judged: Accuracy and fidelity.
        scored: Its outputs on everything that it was judged on.
        items: What it was judged on.
        comparison: Against float on this machine, None where not asked or not possible.
        sentences: What was found and decided, in order.
    """

    candidate: Candidate
    judged: Judged
    scored: Scored
    items: Items
    comparison: speed.Comparison | None
    sentences: tuple[str, ...]


def mode(target: Target) -> Options:
    """Return the session options whose integer products equal the target's.

    Exact mode stands for ARM and VNNI; a target that saturates is run in the default mode, which
    is what ships there, and its weights obey the pair law so that both modes agree.
    """
    saturating = target.int8 is not None and target.int8.saturating
    return Options(exact=not saturating)


def choose(
    rewritten: Rewritten,
    items: Items,
    terms: Terms,
    runtime: Runtime,
    tell: Callable[[str], None],
) -> Chosen:
    """Walk down the candidates; what refuses one is a sentence.

    Where the accuracy gate refuses the whole recipe, a third of the evaluation groups selects how
    many sensitive nodes to leave in float, and the other two thirds judge the result: what is
    chosen is never chosen on what is reported.

    Args:
        rewritten: Candidates, best first, float last.
        items: Samples kept out of calibration.
        terms: The gates.
        runtime: What the target needs; tells whether this machine is a device of it.
        tell: Called with each sentence as it is found.

    Raises:
        GateError: No candidate passes, or float would ship where int8 is required.
    """
    trial = _Trial(rewritten, terms, runtime, tell)
    chosen = trial.walk(items)
    if chosen is None:
        raise GateError(
            "E-GATE",
            f"nothing passes the gates for {rewritten.plan.target.name}: {trial.sentences[-1]}",
            hint="loosen the limit, or give another recipe",
        )
    if terms.require_int8 and not integer_nodes(chosen.candidate.model):
        raise _required(rewritten, trial.sentences)
    return chosen


def _required(rewritten: Rewritten, sentences: Sequence[str]) -> GateError:
    """Say why no int8 ships although it is required: a skipped step, a gate, or nothing to do."""
    name = rewritten.plan.target.name
    skipped = [bound.step.reason for bound in rewritten.plan.graph if isinstance(bound.step, Skip)]
    reasons = [text for text in (*sentences, *skipped) if "int" in text]
    reason = reasons[0] if reasons else "no node of it can be quantized"
    return GateError(
        "E-GATE",
        f"int8 is required for {name} and does not ship: {reason}",
        hint="raise --max-drop, give more calibration data, or leave --require out",
    )


@dataclass(slots=True)
class _Trial:
    """One walk down the candidates of one target."""

    rewritten: Rewritten
    terms: Terms
    runtime: Runtime
    tell: Callable[[str], None]
    sentences: list[str] = field(default_factory=list)

    @property
    def options(self) -> Options:
        return mode(self.rewritten.plan.target)

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.tell(f"{self.rewritten.plan.target.name}: {sentence}")

    def walk(self, items: Items) -> Chosen | None:
        """Try each candidate, then gentler ones before float."""
        for candidate in self.rewritten.candidates:
            judged, scored = self._judge(candidate, items)
            if candidate.lossy:
                self._tell_judged(candidate, judged)
                if not judged.passed:
                    if (found := self._gentler(items)) is not None:
                        return found
                    continue
            if (chosen := self._ship(candidate, judged, scored, items)) is not None:
                return chosen
        return None

    def _judge(self, candidate: Candidate, items: Items) -> tuple[Judged, Scored]:
        signature = self.rewritten.signature
        float_ = evaluate(self.rewritten.float_.data, items, signature, self.options)
        same = candidate is self.rewritten.float_
        scored = float_ if same else evaluate(candidate.data, items, signature, self.options)
        where = "exact mode here" if self.options.exact else "default mode here"
        terms = self.terms
        limit = Limit(terms.metric, terms.name, terms.max_drop, terms.strict, where)
        return judge(float_, scored, limit), scored

    def _tell_judged(self, candidate: Candidate, judged: Judged) -> None:
        verb = "passes" if judged.passed else "is refused"
        self.say(f"{candidate.name} {verb}: {judged.sentence}")

    def _gentler(self, items: Items) -> Chosen | None:
        """Select, on a part of the data, how many nodes to spare; judge on the rest."""
        if not isinstance(items, Dataset) or len(set(items.contents.groups)) < _FEWEST_GROUPS:
            return None
        split = hold_out(items, 2 / 3)
        for candidate in gentler(self.rewritten, list(split.fit), self.options):
            judged, _ = self._judge(candidate, split.fit)
            if not judged.passed:
                continue
            judged, scored = self._judge(candidate, split.held)
            self._tell_judged(candidate, judged)
            if judged.passed:
                return self._ship(candidate, judged, scored, split.held)
            return None
        return None

    def _ship(
        self, candidate: Candidate, judged: Judged, scored: Scored, items: Items
    ) -> Chosen | None:
        """Put an accurate candidate through the gates of size and speed."""
        most = self.terms.max_size
        if most is not None and len(candidate.data) > most:
            found = units.size(len(candidate.data))
            self.say(f"{candidate.name} is refused: {found} exceeds {units.size(most)}")
            return None
        comparison = None
        if candidate.lossy:
            self._compare_modes(candidate, scored, items)
            comparison = self._speed(candidate, items)
        if comparison is not None and comparison.verdict != "not slower":
            return None
        if self.terms.max_latency is not None and not self._quick(candidate, items):
            return None
        return Chosen(candidate, judged, scored, items, comparison, tuple(self.sentences))

    def _compare_modes(self, candidate: Candidate, scored: Scored, items: Items) -> None:
        """On a saturating target, show that the default mode computes what exact mode does."""
        if self.options.exact:
            return
        exact = evaluate(candidate.data, items, self.rewritten.signature, Options(exact=True))
        pairs = zip(scored.outputs, exact.outputs, strict=True)
        same = sum(all((a[name] == b[name]).all() for name in a) for a, b in pairs)
        self.say(f"default and exact mode agree bit for bit on {same} of {len(exact.outputs)}")

    def _speed(self, candidate: Candidate, items: Items) -> speed.Comparison | None:
        """Compare with float where this machine is a device of the target and speed is wanted."""
        terms, target = self.terms, self.rewritten.plan.target
        if terms.objective != "speed" or terms.require_int8 or terms.replayed:
            return None
        if reason := speed.not_a_device(self.runtime):
            self.say(f"speed not shown: this machine is no {target.name}: {reason}")
            return None
        threads = machine.threads()
        result = speed.measure(
            self.rewritten.float_.data, candidate.data, self._sample(items), threads
        )
        low, high = result.interval
        self.say(
            f"{candidate.name} takes {result.ratio:.3f} [{low:.3f}, {high:.3f}] of the time of "
            f"float32 ({result.clock}, {threads} threads): {result.verdict}"
        )
        return result

    def _quick(self, candidate: Candidate, items: Items) -> bool:
        """Hold the latency limit on this machine, at the threads that ship."""
        limit = self.terms.max_latency
        assert limit is not None
        if reason := speed.not_a_device(self.runtime):
            raise MachineError(
                "E-DEVICE",
                f"--max-latency needs a device of {self.rewritten.plan.target.name}: {reason}",
                hint="build on such a machine, or leave the limit out",
            )
        found = speed.latency(candidate.data, self._sample(items), machine.threads())
        verb = "keeps" if found <= limit else "is refused: it exceeds"
        took = units.duration(found)
        self.say(f"{candidate.name} {verb} {units.duration(limit)}: {took} at the 90th percentile")
        return found <= limit

    def _sample(self, items: Items) -> Sample:
        """Return a full first sample, state included."""
        first = next(iter(items)).samples[0]
        return Carry(self.rewritten.signature).fill(first)
