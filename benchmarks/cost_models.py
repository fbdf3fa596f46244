"""Count, cache and time the networks that the estimated cost is held to, on x86-64 with AVX2."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import nets
import numpy as np
from onnx import ModelProto
from schemes import quantized

from edgepack.base.files import write_whole
from edgepack.runtime import emulation, wire
from edgepack.runtime.session import Session
from edgepack.spec.target import Int8

COUNTS = Path(__file__).parent / "results" / "cost_counts.json"
NATIVE = Path(emulation.__file__).parent / "native"
CACHES = "l1=48:12,l2=1024:16"
"""KiB and ways of one core of the machine that is timed: AMD Zen 5; give another's by --caches."""

FAMILY: Mapping[str, Callable[[], ModelProto]] = {
    **{f"mobilenet_v2-{s}-{w}": lambda s=s, w=w: nets.mobilenet_v2(s, w)  # type: ignore[misc]
       for s, w in ((96, 0.35), (128, 0.5), (160, 1.0), (224, 1.0))},
    **{f"resnet18-{s}-{w}": lambda s=s, w=w: nets.resnet18(s, w, 10)  # type: ignore[misc]
       for s, w in ((96, 16), (64, 32), (128, 32), (224, 64))},
    **{f"ds_cnn-{w}": lambda w=w: nets.ds_cnn(w)  # type: ignore[misc]
       for w in (64, 172, 276)},
    **{f"plain_cnn-{s}-{w}": lambda s=s, w=w: nets.plain_cnn(s, w)  # type: ignore[misc]
       for s, w in ((64, 16), (96, 32), (160, 24))},
    **{f"transformer-{t}x{w}": lambda t=t, w=w: nets.transformer(t, w, 2)  # type: ignore[misc]
       for t, w in ((16, 128), (64, 256), (128, 384), (32, 512))},
    **{f"lstm-{t}x{w}": lambda t=t, w=w: nets.lstm(t, w)  # type: ignore[misc]
       for t, w in ((50, 128), (100, 64), (25, 256))},
    **{f"mlp-{w}x{r}": lambda w=w, r=r: nets.mlp(256, w, 3, r)  # type: ignore[misc]
       for w, r in ((512, 1), (1024, 1), (256, 16))},
}  # fmt: skip
FORMS: Mapping[str, Int8 | None] = {"float": None, "int8": Int8("uint8", saturating=True)}
Counted = dict[str, dict[str, int]]


def build(folder: Path) -> None:
    """Put the runner, the plugin, the clock and the runtime, once whole and once as AVX2."""
    import onnxruntime

    capi = Path(onnxruntime.__file__).parent / "capi"
    library = next(capi.glob("libonnxruntime.so.*"))
    (folder / "ort").mkdir()
    (folder / "avx2").mkdir()
    shutil.copy(library, folder / "ort" / emulation.RUNTIME_LIBRARY)
    (folder / "avx2" / emulation.RUNTIME_LIBRARY).write_bytes(without_cpuid(library))
    flags = ["gcc", "-std=gnu11", "-O2"]
    shared = [*flags, "-shared", "-fPIC"]
    clock = Path(__file__).parent / "native" / "region_clock.c"
    for command in (
        [*flags, "-DREGION_MARKERS", *(NATIVE / name for name in emulation.RUNNER), "-o",
         folder / "runner", f"-L{folder / 'ort'}", f"-l:{emulation.RUNTIME_LIBRARY}"],
        [*shared, NATIVE / "plugin.c", "-o", folder / "plugin.so"],
        [*shared, clock, "-o", folder / "region_clock.so"],
    ):  # fmt: skip
        subprocess.run(command, check=True)


def without_cpuid(library: Path) -> bytes:
    """Return the runtime with each CPUID replaced by UD2, which region_clock.c answers."""
    code = bytearray(library.read_bytes())
    command = ["objdump", "-h", "-d", "--no-show-raw-insn", "-w", str(library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    sections = [row[3:6] for row in map(str.split, text) if len(row) > 6 and row[0].isdigit()]
    found = [int(row[0].rstrip(":"), 16) for row in map(str.split, text) if row[1:] == ["cpuid"]]
    assert found, "the runtime asks for the features of the CPU"
    for address in found:
        at = next(
            address - int(start, 16) + int(offset, 16)
            for start, _, offset in sections
            if 0 <= address - int(start, 16) < len(code)
            and code[address - int(start, 16) + int(offset, 16) :][:2] == b"\x0f\xa2"
        )
        code[at : at + 2] = b"\x0f\x0b"
    return bytes(code)


def write_models(folder: Path) -> list[str]:
    """Write every network in every form, with its sample."""
    for name, make in FAMILY.items():
        model = make().SerializeToString()
        for form, facts in FORMS.items():
            artifact = quantized(model, facts)
            shapes = {each.name: each.shape for each in Session(artifact).inputs}
            rng = np.random.default_rng(1)
            sample = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}  # type: ignore[arg-type]
            (folder / f"{name}.{form}.onnx").write_bytes(artifact)
            (folder / f"{name}.{form}.samples").write_bytes(wire.encode([sample]))
    return sorted(path.stem for path in folder.glob("*.onnx"))


def count(folder: Path, model: str, caches: str) -> dict[str, int]:
    """Count one inference after a warm-up; names in the guest have a fixed length."""
    with tempfile.TemporaryDirectory(prefix="cost-") as stage:
        for name, target in (
            ("model.onnx", f"{model}.onnx"),
            ("samples", f"{model}.samples"),
            ("runner", "runner"),
            ("plugin.so", "plugin.so"),
            ("ort", "ort"),
        ):
            Path(stage, name).symlink_to(folder / target)
        subprocess.run(
            [shutil.which("qemu-x86_64") or "", "-cpu", "max", "-seed", "1",
             "-plugin", f"./plugin.so,out=counts,{caches}", "-E", "LD_LIBRARY_PATH=./ort",
             "./runner", "run", "--repeat", "4", "model.onnx", "samples", "outputs"],
            cwd=stage, env={"ORT_DISABLE_TELEMETRY": "1", "LC_ALL": "C"}, check=True,
        )  # fmt: skip
        last = Path(stage, "counts").read_text().splitlines()[-1]
    found: dict[str, int] = json.loads(last)
    return found


def counted(folder: Path, models: Sequence[str], caches: str) -> Counted:
    """Return the counts of every model, from the file where nothing changed since."""
    stored = json.loads(COUNTS.read_bytes()) if COUNTS.exists() else {}
    tools = b"".join((NATIVE / f).read_bytes() for f in ("plugin.c", "cache.h", "x86_64.h"))
    found: Counted = {}
    for model in models:
        data = (folder / f"{model}.onnx").read_bytes() + tools + caches.encode()
        key = hashlib.sha256(data).hexdigest()[:16]
        if stored.get(model, {}).get("key") != key:
            stored[model] = {"key": key, "counts": count(folder, model, caches)}
            write_whole(COUNTS, json.dumps(stored, indent=1).encode() + b"\n")
        found[model] = stored[model]["counts"]
    return found


def timed(folder: Path, models: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return microseconds of each model: the lower quartile of each fresh process, interleaved."""
    found: dict[str, list[float]] = {model: [] for model in models}
    repeats = dict.fromkeys(models, 20)
    for turn in range(rounds + 1):
        for model in models:
            clock = folder / "clock"
            subprocess.run(
                [folder / "runner", "run", "--repeat", str(repeats[model]), f"{model}.onnx",
                 f"{model}.samples", "outputs"],
                cwd=folder, check=True,
                env={"LD_LIBRARY_PATH": str(folder / "avx2"), "REGION_CLOCK": str(clock),
                     "LD_PRELOAD": str(folder / "region_clock.so"), "ORT_DISABLE_TELEMETRY": "1",
                     "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL"},
            )  # fmt: skip
            times = sorted(int(line) / 1e3 for line in clock.read_text().split())
            if turn == 0:  # tells how many runs fill a quarter of a second
                repeats[model] = int(min(1000, max(15, 250_000 / median(times))))
            else:
                found[model].append(times[len(times) // 4])
    return found


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)
