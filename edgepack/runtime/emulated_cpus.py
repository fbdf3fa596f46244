"""The CPUs that qemu-user can stand in for, and the file system each shows to its programs.

ONNX Runtime chooses kernels by what it reads below ``/proc`` and ``/sys``. Under qemu-user those
reads reach the host's own files, where x86 text makes it crash; qemu prefers a file of the same
name below its ``-L`` folder, so each CPU gets such a folder. It also hides the host from the
program, which makes results and instruction counts the same on every host.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.base.errors import RequestError, nearest

CROSS_LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")
"""Where Debian and Ubuntu put the C and C++ libraries of the cross compiler."""

RUNTIME_IN_GUEST = "/ort"
"""Folder of libonnxruntime as the emulated program sees it."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """One emulated CPU.

    Attributes:
        qemu: Value of qemu's ``-cpu``.
        part: Part number in the main id register; the implementer is Arm.
        features: As in ``/proc/cpuinfo``; never more than qemu emulates, else SIGILL.
        rate: Instructions that qemu executes in a second of CPU time, to plan by and not to
            measure with. Float convolutions, the slowest kind, were seen to take 59 to 61
            million on a EPYC (Milan), integer ones 140 to 197; SME takes 14.6.
    """

    qemu: str
    part: int
    features: str
    rate: int = 50_000_000


_V8_0 = "fp asimd aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = f"{_V8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
_V8_6 = f"{_V8_2} i8mm bf16"
_V9_2 = f"{_V8_6} sve sve2 svei8mm svebf16 sme smei8i32 smef16f32 smeb16f32 smef32f32"

CPUS: Mapping[str, Cpu] = {
    "cortex-a53": Cpu("cortex-a53", 0xD03, _V8_0),
    "cortex-a72": Cpu("cortex-a72", 0xD08, _V8_0),
    "cortex-a76": Cpu("cortex-a76", 0xD0B, _V8_2),
    "neoverse-n1": Cpu("neoverse-n1", 0xD0C, _V8_2),
    # qemu 7.2 models no real core with i8mm. What a Cortex-A710 has is cut from its "max"; with
    # SVE and SME left in, the float kernels would be those of a server or a newest phone.
    "armv8.6-i8mm": Cpu("max,sve=off,sme=off", 0xD47, _V8_6),
    "max": Cpu("max", 0xD47, _V9_2, rate=12_000_000),
}
"""Name that users type after ``qemu:`` -> CPU. Source: QEMU 7.2, "Arm CPU models"."""


def find(name: str) -> Cpu:
    """Return the CPU called ``name``.

    Raises:
        RequestError: qemu-user is not known to model it; the hint offers the closest name.
    """
    if name not in CPUS:
        raise RequestError("E-DEVICE", f"no emulated CPU named {name!r}", hint=nearest(name, CPUS))
    return CPUS[name]


def write_sysroot(folder: Path, cpu: Cpu, runtime: Path) -> None:
    """Fill ``folder`` with what a program sees on ``cpu``; ``runtime`` holds libonnxruntime.

    The files are those that ONNX Runtime was seen to open (qemu's ``-strace``); the caches and
    clock rates only keep its CPU detection from giving up.
    """
    files = {
        "proc/cpuinfo": _cpuinfo(cpu),
        "sys/devices/system/cpu/kernel_max": "0\n",
        "sys/devices/system/cpu/possible": "0\n",
        "sys/devices/system/cpu/present": "0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_min_freq": "600000\n",
        "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
        "sys/devices/system/cpu/cpu0/topology/cluster_cpus_list": "0\n",
        "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
        "sys/devices/system/cpu/cpu0/cache/index2/size": "512K\n",
        "sys/devices/system/cpu/cpu0/cache/index2/shared_cpu_list": "0\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    (folder / "sys/bus/pci/devices").mkdir(parents=True)  # no GPU to be found
    (folder / "lib").symlink_to(CROSS_LIBRARIES)
    (folder / RUNTIME_IN_GUEST.lstrip("/")).symlink_to(runtime)


def _cpuinfo(cpu: Cpu) -> str:
    return (
        "processor\t: 0\n"
        "BogoMIPS\t: 100.00\n"
        f"Features\t: {cpu.features}\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        "CPU variant\t: 0x0\n"
        f"CPU part\t: {cpu.part:#05x}\n"
        "CPU revision\t: 4\n\n"
    )
