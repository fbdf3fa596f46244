"""Projects with ``[preprocess]``, and what the reference makes of raw input."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgepack
from tests.models import proto, value

IMAGE = 'kind = "image"\ninput = "x"\nsize = [5, 7]\nscale = 0.00392156862745098\n'
IMAGENET = "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n"
TEXT = 'kind = "text"\ninput = "x"\nvocabulary = "words.txt"\nlength = 6\n'
AUDIO = 'kind = "audio"\ninput = "x"\nrate = 16000\nframe = 6\nhop = 4\n'
WORDS = "[PAD] [UNK] [CLS] [SEP] the cat s ##at ##s mat on café ! , ' 42 ##2 4 über"


def image(depth: int, layout: str = "NCHW", kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Return a model that gives its input back, as floats."""
    shape: list[int | str] = ["n", depth, 5, 7] if layout == "NCHW" else ["n", 5, 7, depth]
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    return proto([node], inputs=[value("x", shape, kind)], outputs=[value("y", shape)])


def text(*, mask: bool = False, kind: int = TensorProto.INT64) -> onnx.ModelProto:
    """Return a model that gives token numbers back, negative where the mask is 0."""
    inputs = [value("x", ["n", 6], kind)]
    nodes = [helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT)]
    if mask:
        inputs.append(value("mask", ["n", 6], TensorProto.INT32))
        nodes.append(helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Sub", ["m", "one"], ["off"]))
        nodes.append(helper.make_node("Add", ["a", "off"], ["y"]))
    else:
        nodes.append(helper.make_node("Mul", ["a", "one"], ["y"]))
    return proto(
        nodes, {"one": np.array(1, np.float32)}, inputs=inputs, outputs=[value("y", ["n", 6])]
    )


def open_text() -> onnx.ModelProto:
    """Return a model of token numbers, as many as come."""
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    inputs, outputs = [value("x", ["n", "t"], TensorProto.INT64)], [value("y", ["n", "t"])]
    return proto([node], inputs=inputs, outputs=outputs)


def audio() -> onnx.ModelProto:
    """Return a model of hn = h + x and y = 2 hn."""
    nodes = [
        helper.make_node("Add", ["x", "h"], ["hn"]),
        helper.make_node("Mul", ["hn", "two"], ["y"]),
    ]
    x, h, y, hn = (value(name, [1, 6]) for name in ("x", "h", "y", "hn"))
    return proto(nodes, {"two": np.array(2, np.float32)}, inputs=[x, h], outputs=[y, hn])


def built(
    model: onnx.ModelProto, declared: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Build a float bundle of a project; ``folder`` becomes the current one."""
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "words.txt").write_text("\n".join(WORDS.split()) + "\n", encoding="utf-8")
    state = 'state = {hn = "h"}\n' if 'kind = "audio"' in declared else ""
    head = f'[model]\nsource = "model.onnx"\nname = "raw"\n{state}'
    (folder / "edgepack.toml").write_text(f"{head}[preprocess]\n{declared}")
    monkeypatch.chdir(folder)
    return edgepack.build(target="x86_64", recipe="float32", out=folder).path
