"""Inference of the networks of ``nets.py``, float and int8, one thread, random weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import SWEPT
from schemes import quantized

from edgepack.runtime.session import Options, Session
from edgepack.spec.target import load

Benchmark = Callable[..., Any]


@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("name", SWEPT)
def test_inference(benchmark: Benchmark, name: str, precision: str) -> None:
    model = SWEPT[name]().SerializeToString()
    if precision == "int8":
        model = quantized(model, load("x86_64").int8)
    session = Session(model, Options(threads=1))
    (taken,) = session.inputs
    shape = [int(dim) for dim in taken.shape]
    sample = {taken.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    benchmark.extra_info["bytes"] = len(model)
    outputs = benchmark(session.run, sample)
    assert all(np.isfinite(value).all() for value in outputs.values())
