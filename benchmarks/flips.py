"""What happens to a bundle in which one bit is flipped: refused, or nothing changes.

Usage: ``python benchmarks/flips.py BUNDLE [SAMPLES]``. Without SAMPLES one bit of every byte is
flipped (the byte's position says which); with it, SAMPLES bits drawn by chance (seed 0). Prints
JSON. A bundle that is still opened counts as ``irrelevant`` where everything that a model is made
of (manifest, model, golden samples, extras) is equal to the original, byte for byte, and as
``wrong`` otherwise: the reader hands out nothing else, so no other answer can come of it.
"""

import hashlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

from edgepack.base.errors import SafetyError
from edgepack.bundle.golden import encode as encode_golden
from edgepack.bundle.open import Bundle, parse
from edgepack.spec.manifest import encode


def content(bundle: Bundle) -> tuple[object, ...]:
    """Return all that a reader takes from a bundle, as bytes."""
    extras = tuple(sorted(bundle.extras.items()))
    return encode(bundle.manifest), bundle.model, encode_golden(bundle.golden), extras


def flip(data: bytearray, path: Path, bit: int, sound: tuple[object, ...]) -> str:
    """Flip one bit, open, flip it back, and return what happened: a code, or a word."""
    data[bit // 8] ^= 1 << bit % 8
    try:
        found = content(parse(bytes(data), path, digest=False))
    except SafetyError as error:
        return error.code
    finally:
        data[bit // 8] ^= 1 << bit % 8
    return "irrelevant" if found == sound else "wrong"


def main() -> None:
    """Count outcomes."""
    path = Path(sys.argv[1])
    data = bytearray(path.read_bytes())
    sound = content(parse(bytes(data), path))
    if len(sys.argv) > 2:
        bits = random.Random(0).sample(range(8 * len(data)), int(sys.argv[2]))  # noqa: S311
    else:
        bits = [8 * at + at % 8 for at in range(len(data))]
    outcomes = {bit: flip(data, path, bit, sound) for bit in bits}
    opened = [bit for bit, what in outcomes.items() if what in {"irrelevant", "wrong"}]
    result = {
        "command": " ".join(["python", "benchmarks/flips.py", path.name, *sys.argv[2:]]),
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "flipped": len(bits),
        "outcomes": dict(sorted(Counter(outcomes.values()).items())),
        "opened_at_bytes": sorted({bit // 8 for bit in opened}),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
