"""An emulated 64-bit ARM CPU: the aarch64 ONNX Runtime under qemu-user.

It runs the kernels that the real CPU would choose, so outputs are those of the target. Time means
nothing here; executed instructions can be counted instead. The program sees the same file names,
environment, CPU and number of runs whenever it is counted and nothing of the host, so counts of
the same model and sample repeat: to the last digit where it was tried, whatever the host's
folders are called; 0.1 % is what may be relied on.
"""

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median_low

import msgspec

from edgepack.base.errors import EdgepackError, MachineError, ModelError
from edgepack.devices import Caches, Counts, Outputs
from edgepack.runtime import emulated_cpus, emulation, wire
from edgepack.runtime.carry import Carry
from edgepack.spec.signature import Sample, Signature

_RUNS, _WARM_UP = 7, 2  # the first inferences prepare buffers too, up to 3 % more instructions
_MEMORY = ("loads", "stores", "l1_misses", "l2_misses")
_BAD_MODEL = 3  # exit code of native/runner.c
_ENVIRONMENT = {"ORT_DISABLE_TELEMETRY": "1", "LC_ALL": "C"}


class Qemu:
    """Runs and counts models on one emulated CPU.

    Attributes:
        name: Such as ``qemu:cortex-a53``.
        runtime: Version of the aarch64 ONNX Runtime.
        arch: ``aarch64``.
        features: Of the emulated CPU.
    """

    arch = "aarch64"

    def __init__(self, cpu: str) -> None:
        self._cpu = emulated_cpus.find(cpu)
        self._parts = emulation.find()
        self._sysroot = self._parts.sysroot(cpu)
        self.name = f"qemu:{cpu}"
        self.runtime = self._parts.runtime
        self.features = frozenset(self._cpu.features.split())

    def refuses(self, signature: Signature) -> str:
        """Strings have no form on the wire, see ``Device.refuses``."""
        return wire.refuses(signature)

    def run(
        self, model: bytes, signature: Signature, items: Sequence[Sequence[Sample]]
    ) -> list[list[Outputs]]:
        """Run every sample of every item, see ``Device.run``; one process for all of them."""
        records = [record for item in items for record in _records(item, signature)]
        carry = [word for pair in signature.state.items() for word in ("--carry", *pair)]
        with self._stage(model, records) as stage:
            self._emulate(stage, carry)
            results = wire.decode((stage / "outputs").read_bytes(), f"the answer of {self.name}")
        assert len(results) == len(records), "the runner answers every record"
        answers: Iterator[Outputs] = iter(results)
        return [[next(answers) for _ in item] for item in items]

    def count(
        self, model: bytes, signature: Signature, sample: Sample, caches: Caches | None = None
    ) -> Counts:
        """Count the instructions of one inference: the median run after a warm-up.

        With ``caches``, accesses to memory and their misses are counted too.

        Raises:
            ModelError: The runtime refuses the model or the sample.
            MachineError: qemu stopped, or speaks another plugin interface than ours.
        """
        plugin = ["-plugin", f"./plugin.so,out=counts{_cache_options(caches)}"]
        with self._stage(model, [Carry(signature).fill(sample)]) as stage:
            self._emulate(stage, ["--repeat", str(_RUNS)], plugin)
            lines = (stage / "counts").read_bytes().splitlines()
        runs = [msgspec.json.decode(line, type=dict[str, int]) for line in lines][_WARM_UP:]
        total = median_low(run["total"] for run in runs)
        classes = next(run for run in runs if run["total"] == total)
        memory = {name: classes.pop(name) for name in _MEMORY if name in classes}
        return Counts(classes.pop("total"), classes, memory)

    def affordable(self, instructions: int, seconds: float) -> int:
        """Return how many inferences fit, by the rate of the CPU; see ``Counting.affordable``."""
        return int(seconds * self._cpu.rate / instructions)

    @contextmanager
    def _stage(self, model: bytes, records: Sequence[Sample]) -> Iterator[Path]:
        """Lay out a folder in which every name is short, relative and always the same."""
        with tempfile.TemporaryDirectory(prefix="edgepack-qemu-") as folder:
            stage = Path(folder)
            try:
                (stage / "model.onnx").write_bytes(model)
                (stage / "samples").write_bytes(wire.encode(records))
                (stage / "runner").symlink_to(self._parts.runner)
                (stage / "plugin.so").symlink_to(self._parts.plugin)
            except OSError as error:
                raise MachineError(
                    "E-DISK",
                    f"cannot write to {folder!r}: {error.strerror}",
                    hint="free space, or let TMPDIR name another folder",
                ) from error
            yield stage

    def _emulate(self, stage: Path, options: Sequence[str], plugin: Sequence[str] = ()) -> None:
        """Run the runner on the staged files."""
        command = [str(self._parts.qemu), "-cpu", self._cpu.qemu, "-L", str(self._sysroot)]
        command += ["-seed", "1", *plugin]
        command += ["-E", f"LD_LIBRARY_PATH={emulated_cpus.RUNTIME_IN_GUEST}:/lib"]
        command += ["./runner", "run", *options, "model.onnx", "samples", "outputs"]
        done = subprocess.run(
            command,
            cwd=stage,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise self._failure(done.returncode, done.stderr)

    def _failure(self, code: int, stderr: str) -> EdgepackError:
        """Say in one sentence why the runner did not end well."""
        if code < 0:
            name = signal.Signals(-code).name
            why = ", an instruction that this CPU lacks" if name == "SIGILL" else ""
            return MachineError("E-QEMU", f"the runner on {self.name} stopped with {name}{why}")
        lines = stderr.strip().splitlines() or [f"exit code {code}"]
        said = "; ".join(lines[-2:]).removeprefix("runner: ")  # the plugin's line, then qemu's
        if code == _BAD_MODEL:
            return ModelError("E-MODEL-RUN", f"the runtime on {self.name} refuses: {said}")
        return MachineError("E-QEMU", f"{self.name} failed: {said}")


def _cache_options(caches: Caches | None) -> str:
    if caches is None:
        return ""
    levels = (("l1", caches.l1), ("l2", caches.l2))
    return "".join(f",{name}={cache.kib}:{cache.ways}" for name, cache in levels)


def _records(item: Sequence[Sample], signature: Signature) -> list[Sample]:
    """Give the first sample a state of zeros; the runner carries it to those that lack it."""
    return [Carry(signature).fill(item[0]), *item[1:]] if item else []
