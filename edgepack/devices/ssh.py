"""Another machine, ``ssh://[user@]host[:port]``, reached as the user's own ssh reaches it.

It needs Linux, a shell and ``tar``. Where it has a Python with numpy and onnxruntime, that of
``~/.edgepack`` there or else ``python3``, one file of ours goes there for as long as it is used.
Where it has none, the C runner and the runtime's library go there, once.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from edgepack.base.errors import MachineError
from edgepack.base.files import sha256
from edgepack.devices import Opened, Outputs, Turns
from edgepack.runtime import machine, runners, wire
from edgepack.runtime.carry import Carry
from edgepack.runtime.remote import address, placed, probe, stage
from edgepack.runtime.remote.link import Link
from edgepack.spec.signature import Sample, Signature

_SILENCE = 600.0  # seconds that a model may take for all samples; they answer together


class Ssh:
    """Runs models on one device.

    Attributes:
        name: As users type it.
        arch: Of its CPU.
        features: Of its CPU.
        cores: That a process may use.
        runtime: Version of ONNX Runtime there.
        link: The way there.
        facts: What it said of itself.
    """

    def __init__(self, detail: str) -> None:
        self.link = Link(address.parse(detail))
        self.name = str(self.link.address)
        self.facts = probe.ask(self.link)
        self.arch = self.facts.arch
        self._runner = None if self.facts.python else _runner(self.link, self.arch)
        self.runtime = self._runner.version if self._runner else self.facts.runtime
        self.cores = self.facts.cores
        with tempfile.TemporaryDirectory(prefix="edgepack-facts-") as folder:
            root = self.facts.lay_out(Path(folder))
            self.features = machine.features(root) or frozenset[str]()

    @cached_property
    def _agent(self) -> stage.Agent:
        """What runs models there; the runner travels when it is needed first."""
        if self._runner is None:
            return stage.python_agent(self.facts.python)
        return placed.place(self.link, self._runner)

    def refuses(self, signature: Signature) -> str:
        """Strings have no form on the wire, see ``Device.refuses``."""
        return wire.refuses(signature)

    def run(
        self, model: bytes, signature: Signature, items: Sequence[Sequence[Sample]]
    ) -> list[list[Outputs]]:
        """Run every sample of every item, see ``Device.run``; one process for all of them."""
        records = [record for item in items for record in _records(item, signature)]
        carry = [word for pair in signature.state.items() for word in ("--carry", *pair)]
        files = {"model.onnx": model, "samples": wire.encode(records)}
        arguments = ["run", *carry, "model.onnx", "samples", "outputs"]
        with stage.staged(self.link, self._agent, files) as there:
            data = there.agent(arguments, lambda _: None, _SILENCE, fetch="outputs")
        results = wire.decode(data, f"the answer of {self.name}")
        answers: Iterator[Outputs] = iter(results)
        return [[next(answers) for _ in item] for item in items]

    @contextmanager
    def timer(self, models: Sequence[Opened], samples: Sequence[Sample]) -> Iterator["_Timer"]:
        """Put models and samples there, see ``Timing.timer``."""
        digests = [sha256(each.model) for each in models]
        names = [f"{digests.index(digest)}.onnx" for digest in digests]  # the same bytes once
        files = {name: each.model for name, each in zip(names, models, strict=True)}
        files["samples"] = wire.encode(samples)
        words = [
            word for name, each in zip(names, models, strict=True) for word in _open(name, each)
        ]
        with stage.staged(self.link, self._agent, files) as there:
            yield _Timer(there, words)


class _Timer:
    """See ``devices.Timer``."""

    def __init__(self, there: stage.Stage, models: list[str]) -> None:
        self._there = there
        self._models = models

    def time(self, turns: Turns, hear: Callable[[list[str]], None], silence: float) -> None:
        """Time in one fresh process there, see ``Timer.time``."""
        words = ["time", "--samples", "samples", *self._models, "--before", str(turns.before)]
        words += ["--warmup", str(turns.warmup), "--stream", str(turns.stream)]
        words += [word for pair in turns.pairs for word in ("--pair", *pair)]
        self._there.agent(words, lambda said: hear(said.words.split()), silence)


def _open(name: str, opened: Opened) -> list[str]:
    entries = {**opened.entries, "session.load_model_format": "ONNX"}
    words = ["--model", name, "--threads", str(opened.threads), "--level", opened.level]
    return [*words, *(word for pair in entries.items() for word in ("--entry", *pair))]


def _records(item: Sequence[Sample], signature: Signature) -> list[Sample]:
    """Give the first sample a state of zeros; the agent carries it to those that lack it."""
    return [Carry(signature).fill(item[0]), *item[1:]] if item else []


def _runner(link: Link, arch: str) -> runners.Runner:
    """Return the C runner for a device without Python.

    Raises:
        MachineError: It is not here; the hint says how to get it, or Python there.
    """
    home = probe.VENV
    python = f"python3 -m venv ~/{home} && ~/{home}/bin/pip install onnxruntime"
    try:
        return runners.find(arch)
    except MachineError as error:
        raise MachineError(
            "E-DEVICE",
            f"{link.address} has no Python with numpy and onnxruntime, and {error}",
            hint=f"{error.hint}; or ssh {link.address.typed} '{python}'",
        ) from error
