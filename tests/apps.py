"""Bundles for the tests of generated apps, and what those tests need of the machine."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import edgepack
from tests.models import proto, value
from tests.projects import write_stripes


def need(there: object, message: str) -> None:
    """Skip where something is not installed; fail in CI, where nothing that matters is skipped."""
    if there:
        return
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def built(model: onnx.ModelProto, folder: Path, name: str = "tiny") -> Path:
    """Build a float bundle of ``model``."""
    onnx.save(model, folder / "model.onnx")
    return edgepack.build(
        str(folder / "model.onnx"), target="x86_64", recipe="float32", out=folder, name=name
    ).path


def stripes(folder: Path, target: str = "x86_64") -> Path:
    """Build an int8 bundle of a small image classifier."""
    write_stripes(folder)
    return edgepack.build(
        str(folder / "model.onnx"),
        target=target,
        calib=str(folder / "calib.npz"),
        require="int8",  # so small a net is no smaller in int8
        out=folder,
        name="stripes",
    ).path


def echo(folder: Path, monkeypatch: pytest.MonkeyPatch, output: str = "y") -> Path:
    """Build a bundle of hn = h + x and ``output`` = 2 hn, h carried; ``folder`` becomes current."""
    nodes = [
        helper.make_node("Add", ["x", "h"], ["hn"]),
        helper.make_node("Mul", ["hn", "two"], [output]),
    ]
    x, h, y, hn = (value(name, [1, 2]) for name in ("x", "h", output, "hn"))
    model = proto(nodes, {"two": np.array(2, np.float32)}, inputs=[x, h], outputs=[y, hn])
    onnx.save(model, folder / "model.onnx")
    (folder / "edgepack.toml").write_text('[model]\nsource = "model.onnx"\nstate = {hn = "h"}\n')
    monkeypatch.chdir(folder)
    return edgepack.build(target="x86_64", recipe="float32", out=folder, name="echo").path
