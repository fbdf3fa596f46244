"""Does this CPU lose bits when it multiplies bytes?

AVX2 and AVX-512 without VNNI add two u8*s8 products in 16 bits. A model for a CPU that does not
must run in exact mode on one that does.

Source: onnxruntime#12088; the test is one MatMulInteger, 255 times 127 along 64 products.
"""

import functools

import numpy as np

from edgepack.runtime.machine import arch
from edgepack.runtime.session import Session

# y = MatMulInteger(a: uint8[1,64], b: int8[64,4] = 127), zero points 0, opset 10, IR 5.
# A device has no onnx package to build it with; a unit test has, and compares. The zero points are
# spelled out because ONNX Runtime 1.20 aborts in exact mode on an int8 weight without one.
_BEFORE = bytes.fromhex(
    "08053af4020a200a01610a01620a02617a0a02627a120179220d4d61744d756c496e74656765721201702a8c"
    "020840080410034201624a8002"
)
_AFTER = bytes.fromhex(
    "2a0910024202617a4a01002a0910034202627a4a01005a130a0161120e0a0c080212080a0208010a02084062"
    "130a0179120e0a0c080612080a0208010a02080442040a00100a"
)
PROBE = _BEFORE + bytes([127] * 64 * 4) + _AFTER
SAMPLE = {"a": np.full((1, 64), 255, np.uint8)}
PRODUCT = 255 * 127 * 64


@functools.cache
def saturates() -> bool:
    """Whether the default integer kernels of this machine overflow."""
    if arch() != "x86_64":
        return False
    product = Session(PROBE, where="the saturation probe").run(SAMPLE)["y"]
    return bool((product != PRODUCT).any())
