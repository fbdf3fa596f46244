"""What running arm64 here takes, and how to get it: ``edgepack devices prepare qemu``.

Debian's ``qemu-user`` and aarch64 cross compiler, the aarch64 ONNX Runtime that the package
index ships (of the version installed here, so that numbers compare), and our own runner and
counting plugin, built from ``native/``. All parts but the packages of the system lie in one
folder of the cache, named after everything that went into it. Nothing needs root, and only
``prepare`` downloads.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgepack.base.errors import MachineError, SafetyError
from edgepack.runtime import emulated_cpus

QEMU = "qemu-aarch64"
RUNTIME_LIBRARY = "libonnxruntime.so.1"
"""Its SONAME."""

RUNNER = ("runner.c", "timer.c", "model.c", "wire.c")
"""Sources of the runner, in ``NATIVE``."""

NATIVE = Path(__file__).parent / "native"
"""Where our C programs are."""

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
"""For them."""

_CROSS_COMPILER = "aarch64-linux-gnu-gcc"
_APT = (
    "apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross "
    "libstdc++6-arm64-cross gcc"
)
_PREPARE = "edgepack devices prepare qemu"
# The tags that the wheels have carried; glibc newer than 2.28 might outrun the cross libraries.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014")
_LIBRARY_LIMIT = 500_000_000  # bytes; onnxruntime 1.32 has 27 million


@dataclass(frozen=True, slots=True)
class Parts:
    """A complete set of parts.

    Attributes:
        folder: Where they lie.
        qemu: The emulator.
        runtime: Version of the aarch64 ONNX Runtime.
    """

    folder: Path
    qemu: Path
    runtime: str

    @property
    def runner(self) -> Path:
        """The aarch64 program of ``native/runner.c``."""
        return self.folder / "runner"

    @property
    def plugin(self) -> Path:
        """The counting plugin of ``native/plugin.c``, for this machine."""
        return self.folder / "plugin.so"

    def sysroot(self, cpu: str) -> Path:
        """Return the folder for qemu's ``-L`` that goes with the CPU called ``cpu``."""
        return self.folder / "sysroots" / cpu


def default_cache() -> Path:
    """Return ``EDGEPACK_CACHE``, else ``edgepack`` in the user's cache folder."""
    if chosen := os.environ.get("EDGEPACK_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "edgepack")


def missing(cache: Path | None = None) -> list[tuple[str, str]]:
    """List what emulation lacks here: what it is, and the command to type; empty when ready."""
    gaps = [(f"the emulator {QEMU!r}", _APT)] if shutil.which(QEMU) is None else []
    if not (emulated_cpus.CROSS_LIBRARIES / "libstdc++.so.6").exists():
        gaps.append(("the aarch64 C++ library", _APT))
    if not _is_there(cache):
        compilers = [name for name in (_CROSS_COMPILER, "gcc") if shutil.which(name) is None]
        gaps.extend((f"the compiler {name!r}", _APT) for name in compilers)
        gaps.append((f"the aarch64 runner for onnxruntime {version('onnxruntime')}", _PREPARE))
    return gaps


def _is_there(cache: Path | None) -> bool:
    """Whether the parts are made; a cache that cannot be looked into holds none."""
    try:
        return _folder(cache).is_dir()
    except (OSError, RuntimeError):  # RuntimeError: pathlib, where the user has no home
        return False


def find(cache: Path | None = None) -> Parts:
    """Return the parts that ``prepare`` made.

    Raises:
        MachineError: Something is missing; the hint is the command to type.
    """
    if gaps := missing(cache):
        what, command = gaps[0]
        raise MachineError("E-QEMU", f"{what} is missing, for running arm64 here", hint=command)
    qemu = shutil.which(QEMU)
    assert qemu is not None
    return Parts(_folder(cache), Path(qemu), version("onnxruntime"))


def prepare(cache: Path | None = None) -> Iterator[str]:
    """Fetch and build what is missing, saying each step; quick when all is there.

    Raises:
        MachineError: A package of the system is missing, a download or a build failed.
        SafetyError: The wheel that came is not what it should be.
    """
    gaps = [gap for gap in missing(cache) if gap[1] != _PREPARE]
    if gaps:
        what, command = gaps[0]
        raise MachineError("E-QEMU", f"{what} is missing, for running arm64 here", hint=command)
    try:
        folder = _folder(cache)
        if not folder.is_dir():
            yield from _make(folder)
    except (OSError, RuntimeError) as error:
        raise MachineError(
            "E-DISK",
            f"cannot write the cache {str(cache or os.environ.get('EDGEPACK_CACHE', ''))!r}: "
            f"{getattr(error, 'strerror', None) or error}",
            hint="free space, or let EDGEPACK_CACHE name another folder",
        ) from error
    yield f"arm64 emulation is ready in {folder}"


def _make(folder: Path) -> Iterator[str]:
    """Make all parts beside ``folder``, then rename them into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as draft:
        parts = Path(draft, "parts")
        yield f"fetching onnxruntime {version('onnxruntime')} for aarch64"
        fetch_runtime(parts / "ort", "aarch64")
        yield "building the runner and the counting plugin"
        _build(parts)
        for name, cpu in emulated_cpus.CPUS.items():
            emulated_cpus.write_sysroot(parts / "sysroots" / name, cpu, Path("../../ort"))
        publish(parts, folder)


def _folder(cache: Path | None) -> Path:
    """Return the folder named after the version of the runtime and all that we put around it."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in (*sorted(NATIVE.glob("*.[ch]")), Path(emulated_cpus.__file__)):
        digest.update(path.read_bytes())
    key = f"onnxruntime-{version('onnxruntime')}-{digest.hexdigest()[:16]}"
    return (cache or default_cache()).absolute() / "qemu" / key


def fetch_runtime(folder: Path, arch: str) -> None:
    """Put the library of the installed version, for the architecture, into ``folder``.

    Raises:
        MachineError: It cannot be downloaded.
        SafetyError: The wheel that came is not what it should be.
    """
    wanted = f"onnxruntime=={version('onnxruntime')}"
    command = [sys.executable, "-m", "pip", "download", wanted, "--no-deps", "--only-binary=:all:"]
    command += [f"--platform={name}_{arch}" for name in _PLATFORMS]
    with tempfile.TemporaryDirectory(prefix="edgepack-wheel-") as scratch:
        command += ["--quiet", "--no-input", "--disable-pip-version-check", f"--dest={scratch}"]
        call(command, f"fetch {wanted} for {arch}", "look at pip's index settings and the network")
        library = library_in_wheel(next(Path(scratch).glob("onnxruntime-*.whl")))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNTIME_LIBRARY).write_bytes(library)


def library_in_wheel(wheel: Path) -> bytes:
    """Return the one ``libonnxruntime.so.X`` of a wheel; no path of the archive is ever used.

    Raises:
        SafetyError: The file is no such wheel, or the member is damaged or far too large.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            pattern = re.compile(r"onnxruntime/capi/libonnxruntime\.so\.[0-9.]+")
            members = [item for item in archive.infolist() if pattern.fullmatch(item.filename)]
            if len(members) == 1 and members[0].file_size <= _LIBRARY_LIMIT:
                return archive.read(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise SafetyError("E-WHEEL", f"{wheel.name!r} is damaged: {error}") from error
    raise SafetyError("E-WHEEL", f"{wheel.name!r} does not hold one libonnxruntime")


def _build(parts: Path) -> None:
    runner = [_CROSS_COMPILER, *FLAGS, "-DREGION_MARKERS", *(str(NATIVE / name) for name in RUNNER)]
    runner += ["-o", str(parts / "runner")]
    runner += [f"-L{parts / 'ort'}", f"-l:{RUNTIME_LIBRARY}"]
    plugin = ["gcc", *FLAGS, "-shared", "-fPIC", str(NATIVE / "plugin.c")]
    plugin += ["-o", str(parts / "plugin.so")]
    call(runner, "build the arm64 runner", _APT)
    call(plugin, "build the counting plugin", _APT)


def call(command: list[str], purpose: str, hint: str) -> None:
    """Run a program of the system to the end.

    Raises:
        MachineError: It fails; its last line explains why.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MachineError("E-PREPARE", f"cannot {purpose}: {lines[-1]}", hint=hint)


def publish(parts: Path, folder: Path) -> None:
    """Rename the finished parts into place; another process may have been first."""
    try:
        parts.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
