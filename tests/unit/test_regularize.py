import dataclasses
from pathlib import Path

import pytest
import torch

from edgepack.base.errors import ModelError
from edgepack.compress import apply
from edgepack.compress.regularize import Regularize
from tests.modules import Plain, accuracy, context, made


@pytest.mark.parametrize(("penalty", "strength"), [("l1", 1e-3), ("l2", 5e-3), ("huber", 5e-2)])
def test_a_penalty_pushes_weights_to_zero_and_the_task_is_kept(
    penalty: str, strength: float, tmp_path: Path
) -> None:
    module = made(Plain)
    step = Regularize(
        epochs=15,
        learning_rate=0.01,
        batch_size=32,
        selection=0.2,
        penalty=penalty,  # type: ignore[arg-type]
        strength=strength,
    )
    found, _record, said = apply(step, "regularize", module, context(tmp_path, module))
    free = dataclasses.replace(context(tmp_path / "free", module))
    weak = Regularize(epochs=15, learning_rate=0.01, batch_size=32, selection=0.2, strength=1e-9)
    plain, _record, _said = apply(weak, "regularize", module, free)
    zeros = [sum(int((p == 0).sum()) for p in m.parameters()) for m in (found, plain)]
    assert zeros[0] > zeros[1] + 100
    assert accuracy(found) > 0.95
    assert said[1].endswith("of 1056 weights fell below and are 0")


def test_whole_channels_fall_under_the_group_penalty(tmp_path: Path) -> None:
    module = made(Plain)
    step = Regularize(
        epochs=15, learning_rate=0.01, batch_size=32, selection=0.2, penalty="l2", strength=1e-3
    )
    found, _record, _said = apply(step, "regularize", module, context(tmp_path, module))
    rows = (dict(found.named_parameters())["layers.1.weight"] == 0).float().mean(1)
    assert set(rows.tolist()) == {0.0, 1.0}


def test_a_module_without_matrices_is_refused(tmp_path: Path) -> None:
    module = torch.nn.BatchNorm2d(1)
    with pytest.raises(ModelError, match="no weights that a penalty could push"):
        apply(Regularize(), "regularize", module, context(tmp_path, made(Plain)))
