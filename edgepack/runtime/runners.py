"""The C runner for devices without Python, and how to get it: ``edgepack devices prepare ssh``.

For each architecture a folder of the cache, named after everything that went into it, holds our
runner, built here from ``native/``, and the library of ONNX Runtime, of the version installed
here. A runner asks for no newer C library than the runtime itself does.
"""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import files, version
from pathlib import Path

from edgepack.base.errors import MachineError
from edgepack.base.files import sha256
from edgepack.runtime import emulation, machine
from edgepack.runtime.emulation import RUNTIME_LIBRARY

ARCHITECTURES = ("aarch64", "x86_64")
"""That the package index has a runtime for."""

PROGRAM = "runner"
PREPARE = "edgepack devices prepare ssh"

_START = ("-Wl,--wrap=__libc_start_main", "-Wl,-rpath,$ORIGIN")  # see native/start.c
_SOURCES = (*emulation.RUNNER, "start.c")


@dataclass(frozen=True, slots=True)
class Runner:
    """What travels to a device.

    Attributes:
        arch: Of its CPU.
        version: Of ONNX Runtime.
        files: Name -> content: the program, and the library that it finds beside itself.
        digests: Name -> SHA-256.
    """

    arch: str
    version: str
    files: dict[str, bytes]
    digests: dict[str, str]

    @property
    def key(self) -> str:
        """Names exactly these files."""
        return sha256("".join(self.digests.values()).encode())[:16]


def missing(arch: str, cache: Path | None = None) -> list[tuple[str, str]]:
    """List what the runner for ``arch`` lacks: what it is, the command to type; empty when ready.

    Raises:
        MachineError: There is no runtime for such a CPU.
    """
    _require(arch)
    try:
        if _folder(arch, cache).is_dir():
            return []
    except (OSError, RuntimeError):  # a cache that cannot be looked into holds none
        pass
    gaps = [(f"the runner for {arch} devices without Python", PREPARE)]
    if shutil.which(_compiler(arch)) is None:
        gaps.insert(0, (f"the compiler {_compiler(arch)!r}", _package(arch)))
    return gaps


def find(arch: str, cache: Path | None = None) -> Runner:
    """Return the runner that ``prepare`` made.

    Raises:
        MachineError: It is missing; the hint is the command to type.
    """
    if gaps := missing(arch, cache):
        what, command = gaps[0]
        raise MachineError("E-RUNNER", f"{what} is missing", hint=command)
    folder = _folder(arch, cache)
    files = {name: (folder / name).read_bytes() for name in (PROGRAM, RUNTIME_LIBRARY)}
    digests = {name: sha256(data) for name, data in files.items()}
    return Runner(arch, version("onnxruntime"), files, digests)


def prepare(arch: str, cache: Path | None = None) -> Iterator[str]:
    """Fetch and build what is missing, saying each step; quick when all is there.

    Raises:
        MachineError: There is no compiler, or a download or the build failed.
        SafetyError: The wheel that came is not what it should be.
    """
    _require(arch)
    try:
        folder = _folder(arch, cache)
        if not folder.is_dir():
            yield f"building the runner for {arch}, with onnxruntime {version('onnxruntime')}"
            _make(arch, folder, cache)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            "E-DISK",
            f"cannot write the cache: {getattr(error, 'strerror', None) or error}",
            hint="free space, or let EDGEPACK_CACHE name another folder",
        ) from error
    yield f"the runner for {arch} devices without Python is ready"


def _require(arch: str) -> None:
    if arch not in ARCHITECTURES:
        raise MachineError(
            "E-RUNNER",
            f"there is no runner for {arch or 'an unknown CPU'!r}",
            hint=f"devices without Python are of {' or '.join(ARCHITECTURES)}",
        )


def _make(arch: str, folder: Path, cache: Path | None) -> None:
    """Make the parts beside ``folder``, then rename them into place."""
    if shutil.which(_compiler(arch)) is None:
        raise MachineError(
            "E-RUNNER", f"the compiler {_compiler(arch)!r} is missing", hint=_package(arch)
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as draft:
        parts = Path(draft, "parts")
        parts.mkdir()
        if (library := _library_here(arch, cache)) is not None:
            shutil.copy(library, parts / RUNTIME_LIBRARY)
        else:
            emulation.fetch_runtime(parts, arch)
        sources = [str(emulation.NATIVE / name) for name in _SOURCES]
        command = [_compiler(arch), *emulation.FLAGS, *sources, *_START, f"-L{parts}"]
        command += [f"-l:{RUNTIME_LIBRARY}", "-o", str(parts / PROGRAM)]
        emulation.call(command, f"build the runner for {arch}", _package(arch))
        emulation.publish(parts, folder)


def _library_here(arch: str, cache: Path | None) -> Path | None:
    """Return the library where this machine has it: as its own, or to emulate with."""
    if _is_native(arch):
        found = [path for path in files("onnxruntime") or () if RUNTIME_LIBRARY in path.name]
        return Path(str(found[0].locate())) if found else None
    if arch == "aarch64" and not emulation.missing(cache):
        return emulation.find(cache).folder / "ort" / RUNTIME_LIBRARY
    return None


def _folder(arch: str, cache: Path | None) -> Path:
    """Return the folder named after the version of the runtime and all that we put around it."""
    digest = hashlib.sha256(repr((emulation.FLAGS, _START)).encode())
    for path in sorted(emulation.NATIVE.glob("*.[ch]")):
        digest.update(path.read_bytes())
    key = f"{arch}-onnxruntime-{version('onnxruntime')}-{digest.hexdigest()[:16]}"
    return (cache or emulation.default_cache()).absolute() / "runner" / key


def _is_native(arch: str) -> bool:
    return sys.platform == "linux" and machine.arch() == arch


def _compiler(arch: str) -> str:
    return "gcc" if _is_native(arch) else f"{arch}-linux-gnu-gcc"


def _package(arch: str) -> str:
    cross = arch.replace("_", "-")
    names = {"aarch64": "arm64", "x86_64": "amd64"}
    if _is_native(arch):
        return "apt-get install gcc libc6-dev"
    return f"apt-get install gcc-{cross}-linux-gnu libc6-dev-{names[arch]}-cross"
