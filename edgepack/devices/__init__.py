"""Devices: where a model runs. One file each; the directory is the registry.

A device is named as users type it: the file, then what the file needs to know after a colon
(``local``, ``qemu:cortex-a53``).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgepack.base import registry
from edgepack.base.errors import MachineError
from edgepack.spec.manifest import Runtime
from edgepack.spec.signature import Sample, Signature
from edgepack.spec.target import lacking

Outputs: TypeAlias = Mapping[str, npt.NDArray[np.generic]]
"""What one run gives: every output of the model, in its order."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions that one inference executes.

    Attributes:
        total: All of them.
        classes: Class -> instructions, the classes of ``runtime/native/plugin.c``; they do not
            overlap and leave out what belongs to none.
        memory: ``loads``, ``stores``, ``l1_misses``, ``l2_misses`` where caches were given; loads
            and stores move at most one vector register each.
    """

    total: int
    classes: Mapping[str, int]
    memory: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cache:
    """One level of data cache: ``kib`` in all, ``ways`` lines of 64 bytes to a set."""

    kib: int
    ways: int


@dataclass(frozen=True, slots=True)
class Caches:
    """The two levels that a core sees, the least recently used line thrown out of each."""

    l1: Cache
    l2: Cache


class Device(Protocol):
    """A place that runs models with ONNX Runtime, one thread, all optimizations."""

    @property
    def name(self) -> str:
        """The name users type."""
        ...

    @property
    def arch(self) -> str:
        """CPU architecture, by the name that targets use."""
        ...

    @property
    def features(self) -> Collection[str]:
        """CPU features, as /proc/cpuinfo spells them."""
        ...

    @property
    def runtime(self) -> str:
        """Version of ONNX Runtime there."""
        ...

    def refuses(self, signature: Signature) -> str:
        """Say which tensor of such a model cannot travel there, or nothing."""
        ...

    def run(
        self, model: bytes, signature: Signature, items: Sequence[Sequence[Sample]]
    ) -> list[list[Outputs]]:
        """Run every sample of every item; state is carried within an item and starts at zeros.

        Args:
            model: A self-contained ONNX file.
            signature: Of the model; tells what is carried.
            items: Each a sequence of samples without the state inputs; where nothing is carried
                any grouping will do. Samples that bring their own state need a signature that
                carries none.

        Returns:
            The outputs, grouped as the samples are, carried state included.

        Raises:
            ModelError: The runtime there refuses the model or a sample.
            MachineError: The device broke, or lacks what it needs.
        """
        ...


@runtime_checkable
class Counting(Device, Protocol):
    """A device that can also count instructions, repeatably to 0.1 %."""

    def count(
        self, model: bytes, signature: Signature, sample: Sample, caches: Caches | None = None
    ) -> Counts:
        """Count what one inference executes, and misses in ``caches``; raises as ``run`` does."""
        ...

    def affordable(self, instructions: int, seconds: float) -> int:
        """Return how many inferences of that many instructions fit the given CPU time.

        The answer depends on nothing that a clock measured, so it is the same on every machine.
        """
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A model and how a session of it is opened.

    Attributes:
        model: A self-contained ONNX file.
        threads: Threads of one operator.
        level: Graph optimizations, ``all``, ``extended``, ``basic`` or ``disable``.
        entries: Session config entries.
    """

    model: bytes
    threads: int
    level: str
    entries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Turns:
    """What a process that times does: fresh sessions, pair after pair.

    Attributes:
        pairs: Letters of the models to open, in order, and the turns they take, such as ``abba``
            or ``200a``.
        before: Untimed runs in a turn, before the timed one.
        warmup: Untimed runs of a fresh session.
        stream: Seconds after which runs are told while a pair is under way; 0 tells them at its
            end, so that nothing disturbs it.
    """

    pairs: Sequence[tuple[str, str]]
    before: int = 0
    warmup: int = 0
    stream: float = 0.0


class Timer(Protocol):
    """Models and samples that lie ready on a device."""

    def time(self, turns: Turns, hear: Callable[[list[str]], None], silence: float) -> None:
        """Time in one fresh process there; the loop never waits for this machine.

        Args:
            turns: What to do.
            hear: Called with the words that ``runtime/remote/agent.py`` says.
            silence: Seconds without a word after which the device counts as hung.

        Raises:
            ModelError: The runtime there refuses a model or a sample, or crashes.
            MachineError: The device broke or hangs; ``LostError`` where the connection was lost.
        """
        ...


@runtime_checkable
class Timing(Device, Protocol):
    """A device that has time: it measures how long its own runs take."""

    @property
    def cores(self) -> int:
        """Cores that a process may use there."""
        ...

    def timer(
        self, models: Sequence[Opened], samples: Sequence[Sample]
    ) -> AbstractContextManager[Timer]:
        """Put models and samples there for as long as it is open.

        Models are known by letters, ``a`` to ``z`` and then ``A`` to ``Z``.
        """
        ...


def require_fit(device: Device, signature: Signature) -> None:
    """Refuse a model whose tensors cannot travel to a device.

    Raises:
        MachineError: The device cannot be given one of them.
    """
    if reason := device.refuses(signature):
        raise MachineError(
            "E-DEVICE", f"{device.name} cannot run the model: {reason}", hint="leave --on out"
        )


def lacks(device: Device, runtime: Runtime) -> str:
    """Say why ``device`` does not stand for what ``runtime`` describes, or nothing.

    An emulated CPU runs any model; that it runs one built for another CPU shows nothing.
    """
    if device.arch != runtime.arch:
        return f"it is {device.arch}, the target is {runtime.arch}"
    absent = lacking(runtime.cpu_features, device.features)
    if absent:
        return f"it lacks the CPU feature {', '.join(absent)}"
    if runtime.provider != "CPUExecutionProvider":
        return f"it has no {runtime.provider}"
    return ""


def open_device(name: str) -> Device:
    """Return the device that users call ``name``.

    Raises:
        RequestError: There is no such device; the hint offers the closest name.
        MachineError: It is known but cannot be used here; the hint says what to install.
    """
    kind, _, detail = name.partition(":")
    return cast(Device, registry.find("devices", kind)(detail))
