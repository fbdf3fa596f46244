"""Where sampling of a run's values starts: the run's own affair, so no order or split matters."""

import zlib

from edgepack.spec.signature import Sample

_LOOKED_AT = 1024
"""Values of an input that decide where sampling starts."""


def phase(sample: Sample) -> int:
    """Return a checksum of a few values of a sample."""
    state = 0
    for name in sorted(sample):
        flat = sample[name].reshape(-1)
        few = flat[:: max(1, flat.size // _LOOKED_AT)]
        data = "\0".join(map(str, few)).encode() if few.dtype.kind in "UO" else few.tobytes()
        state = zlib.crc32(data, state)
    return state
