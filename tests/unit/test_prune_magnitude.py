import dataclasses
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from edgepack.base.errors import ModelError, RequestError
from edgepack.compress import apply
from edgepack.compress.finetune import Finetune
from edgepack.compress.prune_magnitude import PruneMagnitude
from edgepack.spec.decode import decode
from edgepack.training.magnitude import Pattern, Rule, masks
from tests.modules import Plain, StripesNet, accuracy, context, made, same


def alive(weight: torch.Tensor, pattern: Pattern, fraction: float = 0.5) -> list[list[bool]]:
    rule = Rule(("l1", 1.0), pattern, "tensor", 1)
    (mask,) = masks([nn.Parameter(weight)], rule, fraction)
    found: list[list[bool]] = mask.alive.tolist()
    return found


def test_masks_of_each_pattern_are_those_worked_out_by_hand() -> None:
    row = torch.tensor([[1.0, -8.0, 2.0, 7.0, 3.0, 6.0, -4.0, 5.0]])
    t, f = True, False
    assert alive(row, "unstructured") == [[f, t, f, t, f, t, f, t]]
    assert alive(row, "2:4") == [[f, t, f, t, f, t, f, t]]
    row[0, 3] = 6.0  # the sums of the blocks are now 17 and 18
    assert alive(row, "1x4") == [[f, f, f, f, t, t, t, t]]


def test_two_of_every_four_input_channels_live_in_a_convolution() -> None:
    weight = torch.randn(3, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    (mask,) = masks([nn.Parameter(weight)], Rule(("l2", 1.0), "2:4", "tensor", 1), 0.5)
    assert mask.alive.shape == weight.shape
    assert (mask.alive.reshape(3, 2, 4, 2, 2).sum(2) == 2).all()


def test_global_scope_takes_from_the_tensor_of_small_weights() -> None:
    small, large = nn.Parameter(torch.full((2, 2), 0.1)), nn.Parameter(torch.ones(2, 2))
    found = masks([small, large], Rule(("l1", 1.0), "unstructured", "global", 1), 0.5)
    assert [int(mask.alive.sum()) for mask in found] == [0, 4]


SHORT = PruneMagnitude(epochs=6, learning_rate=0.01, batch_size=32, selection=0.2, fraction=0.75)


@pytest.mark.parametrize("schedule", ["once", "cubic"])
def test_three_quarters_are_zero_after_training_and_stay_so(schedule: str, tmp_path: Path) -> None:
    module = made(Plain)
    step = msgspec.structs.replace(SHORT, schedule_of_zeros=schedule)
    found, _record, said = apply(step, "prune_magnitude", module, context(tmp_path, module))
    assert said[0].startswith("75.0 % of 1024 weights in 1 tensors are 0")
    assert accuracy(found) > 0.9
    tuned = Finetune(epochs=2, learning_rate=0.01, selection=0.2)
    again, _record, _said = apply(tuned, "finetune", found, context(tmp_path / "b", found))
    weights = [dict(m.named_parameters())["layers.1.weight"] for m in (found, again)]
    assert torch.equal(weights[0] == 0, weights[1] == 0)


class KilledError(Exception):
    """Ends a training from outside."""


def test_growing_zeros_are_taken_up_where_they_were(tmp_path: Path) -> None:
    step = decode(
        PruneMagnitude,
        {"epochs": 6, "batch_size": 32, "selection": 0.2, "schedule_of_zeros": "cubic"},
        "step",
    )
    module = made(StripesNet)
    whole, _, _ = apply(step, "prune_magnitude", module, context(tmp_path / "a", module))

    def stop(sentence: str) -> None:
        if "epoch 2/" in sentence:
            raise KilledError

    ctx = context(tmp_path / "b", module)
    with pytest.raises(KilledError):
        apply(step, "prune_magnitude", module, dataclasses.replace(ctx, tell=stop))
    resumed, _, _ = apply(step, "prune_magnitude", module, ctx)
    assert same(resumed, whole)


def test_a_module_without_such_weights_is_refused(tmp_path: Path) -> None:
    module = made(Plain)
    step = PruneMagnitude(min_size=10_000)
    with pytest.raises(ModelError, match="no weight of 10000 or more entries"):
        apply(step, "prune_magnitude", module, context(tmp_path, module))


@pytest.mark.parametrize(
    "fields", [{"fraction": 0}, {"fraction": 1}, {"pattern": "2:4", "fraction": 0.7}]
)
def test_a_fraction_that_is_none_is_a_wrong_request(fields: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        decode(PruneMagnitude, fields, "step prune_magnitude")
