"""Build generated C apps without a warning and run them, natively and on emulated ARM."""

import shutil
import subprocess
from pathlib import Path

import onnxruntime

from edgepack.base.errors import MachineError
from edgepack.cli import main
from edgepack.runtime import emulated_cpus, emulation
from tests import apps

RUNTIME = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.1*"))
ARMHF = Path(__file__).parents[1] / ".armhf" / "libonnxruntime.so"  # scripts/setup puts it there
STRICT = "-Wall -Wextra -Werror"
# Of ONNX Runtime's own threads and static objects, the leak checker knows nothing.
SANITIZED = f"-g -O1 {STRICT} -fsanitize=address,undefined -fno-sanitize-recover=all"

_CPUINFO = """processor\t: 0
model name\t: ARMv7 Processor rev 5 (v7l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: 0xc07
CPU revision\t: 5

Hardware\t: Generic
"""


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def embedded(bundle: Path, folder: Path) -> Path:
    assert main(["embed", str(bundle), "--lang", "c", "-o", str(folder)]) == 0
    return folder


def made(app: Path, *options: str, flags: str = STRICT) -> Path:
    done = run("make", f"CFLAGS={flags}", *options, folder=app)
    assert done.returncode == 0, done.stderr
    return app


def arm64(cpu: str) -> list[str]:
    """Return the command that runs a program on an emulated 64-bit CPU; skips without."""
    try:
        parts = emulation.find()
    except MachineError as error:
        apps.need(None, str(error))
        raise
    command = ["qemu-aarch64", "-cpu", emulated_cpus.find(cpu).qemu, "-L", str(parts.sysroot(cpu))]
    return [*command, "-E", f"LD_LIBRARY_PATH={emulated_cpus.RUNTIME_IN_GUEST}:/lib"]


def armhf(cpu: str, root: Path) -> list[str]:
    """Return the command for an emulated 32-bit CPU whose file system is made in ``root``."""
    programs = shutil.which("qemu-arm") and shutil.which("arm-linux-gnueabihf-gcc")
    apps.need(programs and ARMHF.exists(), "no emulated armhf: scripts/setup")
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(_CPUINFO)
    (root / "lib").symlink_to("/usr/arm-linux-gnueabihf/lib")
    return ["qemu-arm", "-cpu", cpu, "-L", str(root), "-E", "LD_LIBRARY_PATH=/lib"]
