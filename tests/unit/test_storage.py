import numpy as np
import onnx
import pytest
from onnx import helper

from edgepack.bundle.archive import packed_size
from edgepack.graph.read import parse
from edgepack.graph.storage import NO_EFFECT, Storage, Stored, store
from edgepack.graph.write import to_bytes
from edgepack.passes import apply
from edgepack.passes.sparsify import Sparsify
from edgepack.runtime.session import Session
from tests import graphs, zoo
from tests.models import Array, proto, value, weight


def thin(kept: float, dtype: str = "float32", seed: int = 0) -> Array:
    """Return a 128 x 128 weight in which a fraction of the entries is kept."""
    rng = np.random.default_rng(seed)
    scale = 1 if dtype.startswith("float") else 40
    array = (rng.standard_normal((128, 128)) * scale).clip(-127, 127).astype(dtype)
    return np.where(rng.random(array.shape) < kept, array, np.zeros((), dtype))


def product(array: Array) -> bytes:
    model = proto(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        {"w": array},
        inputs=[value("x", ["batch", 128])],
        outputs=[value("y", ["batch", 128])],
    )
    return bytes(model.SerializeToString())


def codes(array: Array) -> bytes:
    """A product with int8 weights that the runtime restores."""
    model = proto(
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["r"], name="restore"),
            helper.make_node("MatMul", ["x", "r"], ["y"], name="product"),
        ],
        {"w": array, "s": np.array(0.01, np.float32)},
        inputs=[value("x", ["batch", 128])],
        outputs=[value("y", ["batch", 128])],
    )
    return bytes(model.SerializeToString())


def ran(data: bytes) -> Array:
    return Session(data).run({"x": weight(3, 128, seed=5)})["y"]


@pytest.mark.parametrize("kept", [0.3, 0.02])
def test_a_sparse_weight_passes_the_checker_and_computes_the_same_bit_for_bit(kept: float) -> None:
    for dense in (product(thin(kept)), codes(thin(kept / 3, "int8"))):
        stored = store(dense, "sparse_initializer")
        model = onnx.ModelProto.FromString(stored.data)
        onnx.checker.check_model(model)
        assert stored.sparse == ("w",)
        (sparse,) = model.graph.sparse_initializer
        assert sparse.indices.data_type == onnx.TensorProto.INT64
        assert len(sparse.indices.dims) == 1
        np.testing.assert_array_equal(ran(stored.data), ran(dense))


@pytest.mark.parametrize(
    ("kept", "dtype", "sparse"),
    [(0.34, "float32", ()), (0.32, "float32", ("w",)), (0.12, "int8", ()), (0.1, "int8", ("w",))],
)
def test_on_disk_the_sparse_form_is_smaller_beyond_two_thirds_and_eight_ninths(
    kept: float, dtype: str, sparse: tuple[str, ...]
) -> None:
    data = (product if dtype == "float32" else codes)(thin(kept, dtype))
    assert store(data, "sparse_initializer").sparse == sparse


def test_on_a_wire_deflate_finds_zeros_better_than_indices_do() -> None:
    for kept in (0.5, 0.3):
        for data in (product(thin(kept)), codes(thin(kept, "int8"))):
            assert store(data, "auto") == store(data, "dense")


def test_on_a_wire_the_sparse_form_is_taken_where_it_is_smaller() -> None:
    data = product(thin(0.003))
    stored = store(data, "auto")
    assert stored.sparse == ("w",)
    assert stored.wire < packed_size(data)
    np.testing.assert_array_equal(ran(stored.data), ran(data))


@pytest.mark.parametrize("name", zoo.ZOO)
def test_no_model_of_the_zoo_gets_larger(name: str) -> None:
    data = to_bytes(zoo.ZOO[name]())
    assert store(data, "auto").wire <= packed_size(data)
    assert store(data, "sparse_initializer").file <= len(data)


@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("name", zoo.ZOO)
def test_no_model_of_the_zoo_gets_larger_by_zeros(name: str, fraction: float) -> None:
    dense = zoo.ZOO[name]()
    step = Sparsify(fraction=fraction, min_size=1)
    thinned, _ = apply(step, "sparsify", dense, graphs.context(None, []))
    data = to_bytes(thinned)
    assert store(data, "auto").wire <= min(packed_size(data), packed_size(to_bytes(dense)))


@pytest.mark.parametrize("storage", ["auto", "sparse_initializer"])
def test_what_cannot_be_sparse_stays_dense(storage: Storage) -> None:
    ones, zeros = np.ones((128, 128), np.float32), np.zeros((128, 128), np.float32)
    minus = np.where(thin(0.01) == 0, np.float32(-0.0), np.float32(1))
    for array in (ones, zeros, minus):
        assert store(product(array), storage).sparse == ()


def test_a_model_with_sparse_weights_is_read_as_a_dense_one() -> None:
    data = product(thin(0.1))
    again = parse(store(data, "sparse_initializer").data, "sparse")
    assert to_bytes(again.model) == to_bytes(parse(data, "dense").model)


def test_the_four_columns_are_told_in_one_sentence() -> None:
    stored = Stored(b"", ("w",), 0.8, 5_000_000, 1_700_000, 22_100_000)
    assert stored.sentence == (
        "weights with 80.0 % zeros, 1 stored sparse: file 5.0 MB, wire 1.7 MB, memory 22.1 MB, "
        + NO_EFFECT
    )


def test_codes_of_weights_come_near_their_entropy_on_a_wire() -> None:
    """Order-0 entropy of these codes is 0.27 byte; matching strings by chance would cost 0.35."""
    rng = np.random.default_rng(0)
    array = (rng.standard_normal((512, 512)) * 40).clip(-127, 127).astype(np.int8)
    sparse = np.where(rng.random(array.shape) < 0.2, array, np.int8(0))
    counts = np.bincount(sparse.ravel().astype(np.int64) + 128)
    share = counts[counts > 0] / sparse.size
    entropy = -(share * np.log2(share)).sum() / 8
    assert entropy < packed_size(sparse.tobytes()) / sparse.size < 1.15 * entropy
