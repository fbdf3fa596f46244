import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from edgepack.quantization.blocks import Blocks, quantize_blocks
from edgepack.quantization.tables import quantize_rows
from edgepack.runtime.session import Session
from tests.models import Array, proto, value, weight


def decoded(found: Blocks, rows: int) -> npt.NDArray[np.float64]:
    """Return the matrix ``(K, N)`` that the packed bytes mean, in float64."""
    low, high = found.packed & 15, found.packed >> 4
    codes = np.stack([low, high], axis=-1).reshape(*found.packed.shape[:2], -1).astype(float)
    columns, blocks = codes.shape[:2]
    zero = np.full((columns, blocks), 8.0)
    if found.zero_points is not None:
        pairs = found.zero_points.reshape(columns, -1)
        zero = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(columns, -1)[:, :blocks]
    scale = found.scale.reshape(columns, blocks, 1).astype(float)
    back = (codes - zero[..., None]) * scale
    return np.asarray(back.reshape(columns, -1)[:, :rows].T, np.float64)


@pytest.mark.parametrize("shape", [(64, 5), (33, 7), (16, 1), (150, 3)])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_kernel_reads_what_was_packed(shape: tuple[int, int], shift: float) -> None:
    matrix = weight(*shape) + np.float32(shift)
    found = quantize_blocks(matrix, 16)
    assert shift == 0 or found.zero_points is not None
    parts: dict[str, Array] = {"w": found.packed, "s": found.scale}
    if found.zero_points is not None:
        parts["z"] = found.zero_points
    made = helper.make_node(
        *("MatMulNBits", ["x", *parts], ["y"]),
        domain="com.microsoft",
        K=shape[0],
        N=shape[1],
        bits=4,
        block_size=16,
    )
    model = proto([made], dict(parts), inputs=[value("x", [2, shape[0]], TensorProto.FLOAT)])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    x = weight(2, shape[0], seed=1)
    got = Session(model.SerializeToString()).run({"x": x})["y"].astype(np.float64)
    # float32 sums of at most 150 products
    np.testing.assert_allclose(got, x @ decoded(found, shape[0]), rtol=1e-4, atol=1e-4)


def test_codes_worked_by_hand() -> None:
    # largest weight -8 gets code 0, scale 1; low nibble first
    column = np.array([-8, 7, 0, 1, *[0] * 12], np.float32)[:, None]
    found = quantize_blocks(column, 16)
    assert found.zero_points is None
    assert found.scale.tolist() == [1.0]
    assert found.packed[0, 0, :2].tolist() == [0 | 15 << 4, 8 | 9 << 4]
    assert found.error == 0


def test_searched_scales_lose_no_more_than_the_plain_ones() -> None:
    matrix = weight(64, 32)
    blocks = matrix.T.reshape(32, 1, 64)
    scale = np.abs(blocks).max(axis=2, keepdims=True) / 7
    plain = np.clip(np.rint(blocks / scale), -8, 7) * scale
    assert quantize_blocks(matrix, 64).error < 0.9 * np.square(plain - blocks).mean()


def test_zero_and_tiny_matrices_give_finite_scales() -> None:
    for matrix in (np.zeros((32, 2), np.float32), np.full((32, 2), 1e-38, np.float32)):
        found = quantize_blocks(matrix, 16)
        assert np.isfinite(found.scale).all()
        assert (found.scale != 0).all()
        assert np.isfinite(decoded(found, 32)).all()


def test_rows_of_a_table_have_scales_of_their_own() -> None:
    table = np.array([[0.0, 0.0], [-1.27, 0.635], [100.0, 1.0]], np.float32)
    codes, scale = quantize_rows(table)
    assert codes.tolist() == [[0, 0], [-127, 64], [127, 1]]  # 63.5 rounds to even
    np.testing.assert_allclose(scale[1:, 0], [0.01, 100 / 127], rtol=1e-6)
    assert scale[0, 0] > 0
