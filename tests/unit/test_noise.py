import signal

import numpy as np
import onnx
import pytest

from edgepack.bench import noise, probe
from edgepack.runtime.session import Session


def test_the_model_that_is_timed_against_itself_is_one_and_keeps_its_values() -> None:
    data = noise.model()
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    x = np.full((noise.SIDE, noise.SIDE), 1 / noise.SIDE, np.float32)
    assert Session(data).run({"x": x})["y"] == pytest.approx(x)


def test_an_illegal_instruction_is_a_sentence() -> None:
    assert "instruction that this CPU lacks" in probe.sentence(-signal.SIGILL, "")
    assert probe.sentence(1, "Traceback\nImportError: no") == "unknown: ImportError: no"


def test_too_little_time_leaves_every_mode_open_and_none_the_best() -> None:
    found = noise.modes(0.01, lambda _: None)
    assert all(each.verdict is None and each.reason for each in found)
    assert noise.best(found) is None
