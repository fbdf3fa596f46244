"""Packing, opening and loading a bundle of a model with 2 million weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import mlp

import edgepack
from edgepack.bundle import golden
from edgepack.bundle.open import Bundle, open_bundle
from edgepack.bundle.pack import pack
from edgepack.runtime import machine

Benchmark = Callable[..., Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    model = folder / "mlp.onnx"
    model.write_bytes(mlp(1024, 1024, 2).SerializeToString())
    target = {"aarch64": "arm64"}.get(machine.arch(), machine.arch())
    built = edgepack.build(str(model), target=target, recipe="float32", out=folder)
    return open_bundle(built.path)


def test_packing(benchmark: Benchmark, bundle: Bundle) -> None:
    members = {"model.onnx": bundle.model, "golden.npz": golden.encode(bundle.golden)}
    members |= bundle.extras
    assert benchmark(pack, bundle.manifest, members) == Path(bundle.path).read_bytes()


def test_opening_checks_every_byte(benchmark: Benchmark, bundle: Bundle) -> None:
    assert benchmark(open_bundle, bundle.path).sha256 == bundle.sha256


def test_loading_up_to_a_session(benchmark: Benchmark, bundle: Bundle) -> None:
    assert benchmark(edgepack.load, bundle.path, threads=1)


def test_a_run_of_a_loaded_model(benchmark: Benchmark, bundle: Bundle) -> None:
    model, sample = edgepack.load(bundle.path, threads=1), bundle.golden.samples[0]
    outputs = benchmark(model.run, sample)
    assert all(np.isfinite(value).all() for value in outputs.values())
