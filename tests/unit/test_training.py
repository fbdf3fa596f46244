import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgepack.base.errors import DataError, MachineError, ModelError, RequestError
from edgepack.compress import apply
from edgepack.compress.finetune import Finetune
from edgepack.data.samples import open_dataset
from edgepack.training import checkpoint
from edgepack.training.losses import Outputs, cross_entropy
from edgepack.training.material import part
from edgepack.training.settings import rate_at
from tests.modules import (
    SIGNATURE,
    Plain,
    StripesNet,
    accuracy,
    context,
    made,
    same,
    training_data,
)

SHORT = Finetune(epochs=4, learning_rate=0.01, batch_size=32, selection=0.2)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing_along_half_a_cosine() -> None:
    settings = Finetune(learning_rate=1.0, warmup=0.2)
    rates = [rate_at(settings, step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx((1 + np.cos(np.pi * 7 / 8)) / 2)


def test_training_learns_and_leaves_the_user_s_module_as_it_was(tmp_path: Path) -> None:
    module, told = made(), list[str]()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained, record, _said = apply(SHORT, "finetune", module, context(tmp_path, module, told))
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
    assert accuracy(trained) > 0.95 > accuracy(module)
    assert not trained.training
    assert record.parameters["epochs"] == 4
    assert "epoch 2/4" in told[1]
    assert "top1" in told[1]
    assert "left" in told[1]


class KilledError(Exception):
    """Ends a training from outside, as an interrupt would."""


def test_a_killed_training_goes_on_to_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    class Dropping(StripesNet):
        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return super().forward(nn.functional.dropout(image, 0.1, self.training))

    module = made(Dropping)
    whole, _record, said = apply(SHORT, "finetune", module, context(tmp_path / "a", module))
    torch.rand(3)  # the caller's own random numbers are nobody's business

    def stop(sentence: str) -> None:
        if "epoch 2/" in sentence:
            raise KilledError

    killed = dataclasses.replace(context(tmp_path / "b", module), tell=stop)
    with pytest.raises(KilledError):
        apply(SHORT, "finetune", module, killed)
    told = list[str]()
    resumed, _record, again = apply(
        SHORT, "finetune", module, context(tmp_path / "b", module, told)
    )
    assert told[0] == "finetune: taken up after epoch 2/4"
    assert same(resumed, whole)
    assert again == said


def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path: Path) -> None:
    module, ctx = made(Plain), context(tmp_path, made(Plain))
    ctx.checkpoint.write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    trained, _record, _said = apply(SHORT, "finetune", module, ctx)
    assert accuracy(trained) > 0.9


def test_a_loss_that_is_no_number_stops_with_step_rate_and_remedy(tmp_path: Path) -> None:
    calls = list[int]()

    def breaking(outputs: Outputs, labels: Tensor) -> Tensor:
        calls.append(len(labels))
        return cross_entropy(outputs, labels) * (float("nan") if len(calls) > 5 else 1.0)

    module = made(Plain)
    ctx = dataclasses.replace(context(tmp_path, module), loss=breaking)
    with pytest.raises(RequestError, match=r"loss is nan at step 6/16, learning rate 0\.00") as e:
        apply(SHORT, "finetune", module, ctx)
    assert e.value.hint == "learning_rate = 0.001"
    assert ctx.checkpoint.is_file()
    assert str(ctx.checkpoint) in str(e.value)


def test_training_stops_early_and_keeps_the_best_weights(tmp_path: Path) -> None:
    module = made()
    ctx = context(tmp_path, module)
    first, _record, said = apply(SHORT, "finetune", module, ctx)
    spoiling = Finetune(epochs=9, learning_rate=5.0, optimizer="sgd", patience=2, selection=0.2)
    again = context(tmp_path / "again", first)
    kept, _record, said = apply(spoiling, "finetune", first, again)
    assert same(kept, first)
    assert said[0].startswith("trained 2 epochs, kept before training: top1 1.0000 on ")


def test_selection_and_training_share_no_sample_and_no_group() -> None:
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    groups = np.arange(40) // 4
    arrays = {"image": images, "labels": np.arange(40) % 2, "groups": groups}
    parts = part(open_dataset(arrays, SIGNATURE, labelled=True), 0.2, seed=1)
    belongs = {image.tobytes(): group for image, group in zip(images, groups, strict=True)}
    sides = [
        {belongs[image.numpy().tobytes()] for image in side.inputs["image"]}
        for side in (parts.fit, parts.selection)
    ]
    assert len(parts.selection) == 8
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    tmp_path: Path, seed: int
) -> None:
    module, weights = made(Plain), []
    for index, chosen in enumerate((0, seed)):
        step = Finetune(epochs=1, seed=chosen, selection=0.2)
        ctx = context(tmp_path / str(index), module)
        weights.append(apply(step, "finetune", module, ctx)[0])
    assert same(*weights) == (seed == 0)


def test_a_frozen_module_is_refused(tmp_path: Path) -> None:
    module = made(Plain)
    for parameter in module.parameters():
        parameter.requires_grad = False
    with pytest.raises(ModelError, match="every parameter of the module is frozen"):
        apply(SHORT, "finetune", module, context(tmp_path, module))


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    module = made(Plain)
    images = np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)
    for labels, said in ((np.arange(20), "for 2 classes"), (np.ones(20) / 2, "cross-entropy")):
        data = open_dataset({"image": images, "labels": labels}, SIGNATURE, labelled=True)
        ctx = dataclasses.replace(context(tmp_path, module), training=data, metric=None)
        with pytest.raises(DataError, match=said):
            apply(SHORT, "finetune", module, ctx)


def test_no_data_and_one_sample_are_refused(tmp_path: Path) -> None:
    module = made(Plain)
    for data in (None, training_data(1), training_data(0)):
        ctx = dataclasses.replace(context(tmp_path, module), training=data)
        with pytest.raises(DataError, match="training"):
            apply(SHORT, "finetune", module, ctx)


def test_a_module_that_torch_cannot_copy_is_refused(tmp_path: Path) -> None:
    module = made(Plain)
    ctx = context(tmp_path, module)
    module.kept = next(module.parameters()) * 2
    with pytest.raises(ModelError, match="never changed in place"):
        apply(SHORT, "finetune", module, ctx)


def test_a_cache_that_cannot_be_written_is_named_with_what_moves_it() -> None:
    state = checkpoint.Checkpoint(checkpoint.Progress(), {}, {}, {})
    with pytest.raises(MachineError, match="cannot write") as caught:
        checkpoint.write(Path("/proc/no-such-folder/state.safetensors"), state)
    assert "EDGEPACK_CACHE" in caught.value.hint
