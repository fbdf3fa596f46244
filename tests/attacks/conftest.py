import hashlib
import json
import platform
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgepack
from edgepack.base.errors import SafetyError
from edgepack.bundle import archive, golden

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)
X = np.array([[[1, 2, 3, 4]], [[0, -1, 0, 1]]], np.float32)


def matmul() -> Any:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@dataclass
class Forge:
    """The parts of a valid bundle, to be bent; ``seal`` makes all digests right again."""

    manifest: dict[str, Any]
    members: dict[str, bytes]

    def seal(self) -> bytes:
        return self.lay(self.text())

    def listed(self) -> dict[str, Any]:
        """Return the manifest with digests and sizes of the members as they are now."""
        files = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in self.members.items()
        }
        return {**self.manifest, "files": files}

    def text(self, manifest: dict[str, Any] | None = None) -> bytes:
        return msgspec.json.encode(manifest or self.listed(), order="sorted") + b"\n"

    def lay(self, manifest: bytes) -> bytes:
        ordered = {name: self.members[name] for name in sorted(self.members)}
        return archive.write({"manifest.json": manifest, **ordered})

    def model(self) -> Any:
        return onnx.load_from_string(self.members["model.onnx"])

    @staticmethod
    def deflated(name: str, data: bytes) -> bytes:
        """Lay out one member, deflated beyond what the writer would ever do."""
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
        entry = archive.Entry(name, 8, zlib.crc32(data), len(packed), len(data), 0)
        central, start = entry.central(), len(entry.local() + packed)
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(central), start, 0)
        return entry.local() + packed + central + end


@pytest.fixture
def forge() -> Forge:
    manifest = json.loads(Path(__file__).with_name("manifest.json").read_text())
    manifest["runtime"]["arch"] = platform.machine()
    runs = golden.Golden({"x": X}, {"y": X @ WEIGHT})
    model = matmul().SerializeToString()
    return Forge(manifest, {"model.onnx": model, "golden.npz": golden.encode(runs)})


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, str], None]:
    """Return a check: loading these bytes is refused in these words and leaves nothing behind."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    path = inner / "hostile.edgepack"

    def check(data: bytes, words: str) -> None:
        path.write_bytes(data)
        with pytest.raises(SafetyError, match=r"hostile\.edgepack") as caught:
            edgepack.load(path)
        assert words in str(caught.value)
        assert caught.value.exit_code == 7
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert [*tmp_path.rglob("*")] == [inner, path]

    return check
