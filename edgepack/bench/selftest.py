"""The golden self-test of a bundle, on this machine or on another device."""

from edgepack import devices
from edgepack.base.errors import MachineError
from edgepack.bundle.golden import SelfTest, judge
from edgepack.bundle.open import Bundle
from edgepack.runtime.model import preprocessor, ready, remake_golden
from edgepack.spec.signature import Signature


def selftest(bundle: Bundle, device: str) -> SelfTest:
    """Run the golden samples of ``bundle`` on ``device`` and compare.

    On this machine the loader decides, as an app's would: it refuses a bundle whose CPU is
    missing, and sets exact mode on a CPU that saturates.

    Raises:
        MachineError: The device lacks what the bundle needs.
        SafetyError: An output is further from its golden value than its tolerance, or raw input
            becomes another sample than the golden one.
    """
    if device == "local":
        return ready(bundle).selftest()
    # Integers and tables, which no CPU computes otherwise: what holds here holds on the device.
    remake_golden(bundle.golden, preprocessor(bundle), str(bundle.path))
    manifest = bundle.manifest
    alone = Signature(manifest.inputs, manifest.outputs)
    opened = devices.open_device(device)
    if reason := devices.lacks(opened, manifest.runtime):
        raise MachineError(
            "E-MACHINE",
            f"{device} cannot stand for {manifest.target['name']!r}: {reason}",
            hint=_devices_for(bundle),
        )
    if reason := opened.refuses(alone):
        hint = "edgepack embed --lang python, whose self-test runs there"
        raise MachineError("E-DEVICE", f"{device} cannot run it: {reason}", hint=hint)
    runs = opened.run(bundle.model, alone, [[sample] for sample in bundle.golden.samples])
    result = judge(bundle.golden, manifest.golden.tolerance, [run[0] for run in runs])
    result.require(f"on {device}")
    return result


def _devices_for(bundle: Bundle) -> str:
    cpus = bundle.manifest.target.get("emulate")
    if isinstance(cpus, list | tuple) and cpus:
        return f"--on qemu:{cpus[0]}"
    return "--on ssh://user@host, a device of its target"
