"""What a device is: its CPU, its Python, what else it is doing. Read there, judged here.

The small files of ``/proc`` and ``/sys`` that tell about a machine come over as they are and are
laid out in a folder here, so that whatever reads them of this machine reads them of that one.
"""

from dataclasses import dataclass
from pathlib import Path

from edgepack.base.errors import MachineError
from edgepack.runtime.machine import ARCHITECTURES
from edgepack.runtime.remote.link import Link, Said

VENV = ".edgepack"
"""A virtual environment in the home folder there; ``python3`` of the PATH comes after it."""

_FILES = (
    "proc/cpuinfo",
    "proc/loadavg",
    "proc/stat",
    "proc/self/cgroup",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
)
_LIMIT = 1_000_000  # bytes of one such file; a machine of 256 cores has 400 kB of cpuinfo
_PYTHON = "import numpy, onnxruntime; print(onnxruntime.__version__)"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device says of itself.

    Attributes:
        arch: ``x86_64``, ``aarch64`` ...
        cores: That a process may use.
        python: A Python that has numpy and onnxruntime; empty where there is none.
        runtime: The version of that onnxruntime; empty where there is none.
        files: Path from the root -> content.
    """

    arch: str
    cores: int
    python: str
    runtime: str
    files: dict[str, bytes]

    def lay_out(self, root: Path) -> Path:
        """Write the files below ``root``, and return it."""
        for name, data in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root


def ask(link: Link, *, python: bool = True) -> Facts:
    """Ask a device; ``python`` says whether to look for one, which takes it a second or more.

    Raises:
        MachineError: It cannot be reached, or runs another system than Linux.
    """
    said: dict[str, str] = {}
    files: dict[str, bytes] = {}

    def hear(line: Said) -> None:
        kind, _, rest = line.words.partition(" ")
        if kind == "bytes":
            files[rest.partition(" ")[2]] = line.block
        else:
            said[kind] = rest

    link.run(_script(python=python), hear, silence=120)
    if (system := said.get("system", "")) != "Linux":
        raise MachineError(
            "E-DEVICE",
            f"{link.address} runs {system or 'no system that tells its name'!r}",
            hint="devices run Linux",
        )
    name = said.get("arch", "").lower()
    program, _, version = said.get("python", "").rpartition(" ")
    cores = said.get("cores", "")
    return Facts(
        ARCHITECTURES.get(name, name), int(cores) if cores.isdigit() else 1, program, version, files
    )


def _script(*, python: bool) -> str:
    """Return a script that says each fact; what a device lacks it passes over in silence."""
    names = " ".join(_FILES)
    parts = [
        "LC_ALL=C; export LC_ALL",  # so that lengths are those of bytes
        'say system "$(uname -s)"; say arch "$(uname -m)"; say cores "$(nproc 2>/dev/null)"',
        f't() {{ head -c {_LIMIT} "/$f"; }}',
        f'for f in {names}; do if [ -r "/$f" ]; then t="$(t)"',
        'say bytes "${#t} $f"; printf "%s" "$t"; fi; done',
    ]
    if python:
        parts.append(
            f'for p in "$HOME/{VENV}/bin/python" python3; do '
            f'v="$(ORT_DISABLE_TELEMETRY=1 "$p" -c "{_PYTHON}" 2>/dev/null | tail -n 1)"; '
            'if [ -n "$v" ]; then say python "$p" "$v"; break; fi; done'
        )
    return "; ".join(parts)
