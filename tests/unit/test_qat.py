import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from edgepack.base.errors import ModelError, RequestError
from edgepack.compress import Context, apply
from edgepack.compress.finetune import Finetune
from edgepack.compress.prune_magnitude import PruneMagnitude
from edgepack.compress.qat import Qat
from edgepack.export import ExportRequest, export
from edgepack.gate.candidates import write_static
from edgepack.graph.census import signature
from edgepack.plan import plan
from edgepack.spec import target
from edgepack.spec.recipe import Recipe
from edgepack.spec.step import Skip
from edgepack.training.twin import RoundedTwin
from tests import graphs
from tests.modules import EXAMPLE, StripesNet, accuracy, context, made, same, training_data
from tests.projects import stripes

SHORT = Qat(epochs=2, learning_rate=0.003, batch_size=32, selection=0.2)
RECIPE = Recipe(
    "own", graph=({"use": "tidy"}, {"use": "fold_batchnorm"}, {"use": "quantize_static"})
)


def rounding(
    folder: Path,
    module: nn.Module,
    told: list[str] | None = None,
    name: str = "x86_64",
) -> Context:
    """Return a context that writes as a build does, with ranges of 64 images."""
    calibration = training_data(64, 6)
    found = plan(RECIPE, target.load(name, target.BUILT_IN))

    def write(module: nn.Module) -> tuple[ir.Model, ir.Model]:
        model = export(module, ExportRequest(EXAMPLE, dynamic={"image": ("batch",)})).model
        written = write_static(found, model, signature(model), calibration)
        return written.model, written.written

    return dataclasses.replace(context(folder, module, told, name), write=write)


def trained(folder: Path) -> nn.Module:
    """Return the network after the training that goes before."""
    module = made()
    step = Finetune(epochs=3, learning_rate=0.01, batch_size=32, selection=0.2)
    folder.mkdir()
    return apply(step, "finetune", module, context(folder, module))[0]


def score(module: nn.Module) -> float:
    """Return the accuracy of a twin, which takes a dictionary."""
    images, labels = stripes(200, 9)
    with torch.no_grad():
        found = module({"image": torch.from_numpy(images)})["scores"].argmax(1).numpy()
    return float(np.mean(found == labels))


@pytest.mark.parametrize("bits", [8, 7, 4])
def test_a_network_learns_under_rounding_and_the_user_s_module_is_left_as_it_was(
    bits: int, tmp_path: Path
) -> None:
    module = made()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    step = Qat(
        epochs=4,
        learning_rate=0.01,
        batch_size=32,
        selection=0.2,
        bits=bits,  # type: ignore[arg-type]
    )
    twin, record, said = apply(step, "qat", module, rounding(tmp_path, module))
    assert isinstance(twin, RoundedTwin)
    assert score(twin) > 0.95 > accuracy(module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module.training is False
    assert record.parameters["bits"] == bits
    assert said[0] == "4 layers and 6 ranges train"
    assert any("simulated" in sentence for sentence in said) == (bits == 4)


def test_ranges_and_scales_are_learned_where_nothing_forbids_it(tmp_path: Path) -> None:
    module = made()
    step = Qat(epochs=2, learning_rate=0.01, batch_size=32, selection=0.2, bits=7)
    twin, _, _ = apply(step, "qat", module, rounding(tmp_path, module))
    assert isinstance(twin, RoundedTwin)
    octaves = [parameter.abs().max() for parameter in twin.rounders.parameters()]
    assert len(octaves) == 6 + 4
    assert all(float(moved.detach()) > 0 for moved in octaves)


def test_a_module_in_training_mode_is_trained_as_one_in_eval_mode(tmp_path: Path) -> None:
    found = []
    for mode in (True, False):
        module = made().train(mode)
        (folder := tmp_path / str(mode)).mkdir()
        found.append(apply(SHORT, "qat", module, rounding(folder, module))[0])
        assert module.training is mode
    assert same(found[0], found[1])


def test_a_training_that_was_stopped_ends_with_the_same_bytes(tmp_path: Path) -> None:
    module, told = made(), list[str]()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, _, _ = apply(SHORT, "qat", module, rounding(tmp_path / "a", module))
    ctx = rounding(tmp_path / "b", module, told)

    def stopping(sentence: str) -> None:
        told.append(sentence)
        if "epoch 1/2" in sentence:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(SHORT, "qat", module, dataclasses.replace(ctx, tell=stopping))
    resumed, _, _ = apply(SHORT, "qat", module, ctx)
    assert "qat: taken up after epoch 1/2" in told
    assert same(whole, resumed)


def test_a_loss_that_is_no_number_stops_with_the_remedy(tmp_path: Path) -> None:
    module = made()
    ctx = rounding(tmp_path, module)

    def broken(outputs: object, labels: Tensor) -> Tensor:
        scores: Tensor = ctx.loss(outputs, labels)  # type: ignore[arg-type]
        return scores * float("nan")

    with pytest.raises(RequestError, match="qat: the loss is nan") as caught:
        apply(SHORT, "qat", module, dataclasses.replace(ctx, loss=broken))
    assert "learning_rate = 0.0003" in caught.value.hint


def test_pruned_weights_stay_zero(tmp_path: Path) -> None:
    module = trained(tmp_path / "before")
    prune = PruneMagnitude(epochs=1, fraction=0.5, batch_size=32, selection=0.2, min_size=32)
    ctx = rounding(tmp_path, module)
    (tmp_path / "p").mkdir()
    checkpoint = dataclasses.replace(ctx, checkpoint=tmp_path / "p" / "step.safetensors")
    pruned, _, _ = apply(prune, "prune_magnitude", module, checkpoint)
    twin, _, _ = apply(SHORT, "qat", pruned, ctx)
    assert isinstance(twin, RoundedTwin)
    zeros = {name: int((w == 0).sum()) for name, w in twin.twin.values().items() if w.ndim > 1}
    before = sum(int((p == 0).sum()) for p in pruned.parameters() if p.ndim > 1)
    assert sum(zeros.values()) == before > 100


def test_a_frozen_module_is_refused_and_a_frozen_part_is_told(tmp_path: Path) -> None:
    module = made()
    next(module.parameters()).requires_grad = False
    _, _, said = apply(SHORT, "qat", module, rounding(tmp_path, module))
    assert said[0].startswith("1 frozen parameters train too")
    with pytest.raises(ModelError, match="every parameter of the module is frozen"):
        apply(SHORT, "qat", module.requires_grad_(requires_grad=False), rounding(tmp_path, module))


class Waves(nn.Module):
    """Has a weight, and no layer that computes on integers."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"scores": torch.tanh(image.flatten(1)[:, :2] * self.gain)}


class Sorted(StripesNet):
    """Sorts, which has no counterpart."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        found = super().forward(image)["scores"]
        return {"scores": found + torch.cumsum(found, 1)}


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Waves, "no layer of the module computes on integers"), (Sorted, "CumSum")],
)
def test_a_module_that_cannot_be_trained_with_rounding_is_refused(
    kind: type[nn.Module], said: str, tmp_path: Path
) -> None:
    module = made(kind)
    with pytest.raises(ModelError, match=said):
        apply(SHORT, "qat", module, rounding(tmp_path, module))


def test_a_batch_that_the_export_fixed_is_refused(tmp_path: Path) -> None:
    def write(module: nn.Module) -> tuple[ir.Model, ir.Model]:
        model = export(module, ExportRequest(EXAMPLE)).model
        return model, model

    module = made()
    ctx = dataclasses.replace(context(tmp_path, module), write=write)
    with pytest.raises(ModelError, match="fixed batch of 2") as caught:
        apply(SHORT, "qat", module, ctx)
    assert caught.value.hint == 'edgepack.toml: [model] dynamic = {image = ["batch"]}'


def test_a_target_without_integer_kernels_skips_it() -> None:
    found = Qat().fit(graphs.target(None))
    assert isinstance(found, Skip)
    assert found.reason == "made-up has no integer kernels that pay"
