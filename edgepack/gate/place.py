"""Where times of a target are taken: on a device that the user named, else on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgepack import devices
from edgepack.bench.ground import Ground, Here, There
from edgepack.devices import Timing
from edgepack.runtime import machine
from edgepack.spec.manifest import Runtime


@dataclass(frozen=True, slots=True)
class Place:
    """A clock.

    Attributes:
        device: That has it; None for this machine.
        nowhere: Why nothing can be timed; empty where it can.
    """

    device: Timing | None = None
    nowhere: str = ""

    @property
    def name(self) -> str:
        """The device, as users type it."""
        return "local" if self.device is None else self.device.name

    @property
    def threads(self) -> int:
        """What ships by default: the usable cores there, at most four."""
        if self.device is None:
            return machine.threads()
        return min(self.device.cores, machine.MOST_THREADS)

    @property
    def ground(self) -> Ground:
        """For comparisons."""
        return Here() if self.device is None else There(self.device)


def find(runtime: Runtime, on: Sequence[str] = ()) -> Place:
    """Return the first device in ``on`` that can time what needs ``runtime``, else this machine.

    Raises:
        EdgepackError: A device that was named cannot be used.
    """
    for name in on:
        device = devices.open_device(name)
        if isinstance(device, Timing) and not devices.lacks(device, runtime):
            return Place(device)
    return Place(nowhere=machine.missing(runtime) or "")
