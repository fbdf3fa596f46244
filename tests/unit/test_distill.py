import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgepack.base.errors import ModelError, RequestError
from edgepack.compress import apply
from edgepack.compress.distill import Distill
from edgepack.data.samples import Dataset, open_dataset
from edgepack.spec.decode import decode
from edgepack.training.teacher import soft_loss
from tests.modules import SIGNATURE, Plain, StripesNet, accuracy, context, made
from tests.projects import stripes

SHORT = Distill(epochs=4, learning_rate=0.01, batch_size=32, selection=0.2)


def test_the_soft_loss_is_the_divergence_times_the_square_of_the_temperature() -> None:
    student, teacher = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 0.0]])
    p, q = torch.softmax(teacher / 2, 1), torch.softmax(student / 2, 1)
    expected = 4 * float((p * (p / q).log()).sum())
    assert float(soft_loss(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-6)
    assert float(soft_loss(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-7)


class Backwards(nn.Module):
    """Says the opposite of what is true, by the mean difference of neighbours."""

    def forward(self, image: Tensor) -> Tensor:
        across = (image[..., 1:] - image[..., :-1]).abs().mean((1, 2, 3))
        down = (image[:, :, 1:] - image[:, :, :-1]).abs().mean((1, 2, 3))
        return torch.stack([down - across, across - down], 1) * 8


@pytest.mark.parametrize(("method", "obeys"), [("softmax", True), ("kd", False)])
def test_softmax_hears_the_teacher_alone_and_kd_the_labels_too(
    method: str, *, obeys: bool, tmp_path: Path
) -> None:
    module = made(StripesNet)
    step = Distill(
        epochs=6,
        learning_rate=0.01,
        batch_size=32,
        selection=0.2,
        method=method,  # type: ignore[arg-type]
        alpha=0.05,
    )
    ctx = dataclasses.replace(context(tmp_path, module), teacher=Backwards(), metric=None)
    ctx = dataclasses.replace(ctx, training=_wrong() if obeys else ctx.training)
    student, _record, _said = apply(step, "distill", module, ctx)
    assert (accuracy(student) < 0.1) == obeys


def _wrong() -> Dataset:
    """Labels that agree with the backward teacher, for selection."""
    images, labels = stripes(128, 5)
    return open_dataset({"image": images, "labels": 1 - labels}, SIGNATURE, labelled=True)


def test_a_teacher_from_a_file_is_asked_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "teach.py").write_text(
        "import torch\nfrom tests.modules import EXAMPLE as example_inputs, StripesNet\n"
        "def make():\n    torch.manual_seed(3)\n    return StripesNet(8)\n"
    )
    module = made(Plain)
    step = Distill(epochs=1, selection=0.2, teacher="teach.py:make")
    _student, _record, said = apply(step, "distill", module, context(tmp_path, module))
    assert said[0].startswith("trained 1 epochs")


class Three(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, :3]


class Refusing(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("teacher", "said"), [(Three(), r"\[2, 3\], the student \[2, 2\]"), (Refusing(), "inputs")]
)
def test_a_teacher_that_does_not_fit_is_refused(
    teacher: nn.Module, said: str, tmp_path: Path
) -> None:
    module = made(Plain)
    ctx = dataclasses.replace(context(tmp_path, module), teacher=teacher)
    with pytest.raises(ModelError, match=said):
        apply(SHORT, "distill", module, ctx)


def taught(
    tmp_path: Path, module: nn.Module, original: nn.Module, **fields: object
) -> tuple[nn.Module, tuple[str, ...]]:
    step = decode(Distill, {"epochs": 3, "batch_size": 32, "learning_rate": 0.01, **fields}, "step")
    ctx = dataclasses.replace(context(tmp_path, module), teacher=original)
    student, _record, said = apply(step, "distill", module, ctx)
    return student, said


def test_features_of_a_narrow_student_come_closer_to_the_teachers(tmp_path: Path) -> None:
    student, teacher = made(StripesNet), StripesNet(24).eval()
    fields = {"features": {"point": "point"}, "feature_weight": 100.0}
    found, _said = taught(tmp_path, student, teacher, **fields)
    assert found.state_dict().keys() == student.state_dict().keys()  # no projection is left
    assert _explained(found, teacher) > _explained(student, teacher)


def _explained(student: nn.Module, teacher: nn.Module) -> float:
    """Return the share of the teacher's features that a linear map of the student's explains."""
    seen: list[Tensor] = []
    images = torch.from_numpy(stripes(64, 11)[0])
    for module in (student, teacher):
        hook = module.point.register_forward_hook(lambda _m, _x, y: seen.append(y))  # type: ignore[union-attr]
        with torch.no_grad():
            module(images)
        hook.remove()
    a, b = (y.movedim(1, -1).flatten(0, 2).double() for y in seen)
    a = torch.cat([a, torch.ones(len(a), 1)], 1)
    residue = b - a @ torch.linalg.lstsq(a, b).solution
    return float(1 - residue.square().sum() / (b - b.mean(0)).square().sum())


def test_matching_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="the teacher has no layer 'pont'") as caught:
        taught(tmp_path, made(StripesNet), StripesNet(24), features={"point": "pont"})
    assert "point" in caught.value.hint


def test_features_of_another_resolution_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="differ in more than the last axis"):
        taught(tmp_path, made(StripesNet), StripesNet(24), features={"point": "head"})


def test_finetune_starts_from_the_tensors_that_a_deeper_teacher_shares(tmp_path: Path) -> None:
    (tmp_path / "teach.py").write_text(
        "import torch\nfrom tests.modules import EXAMPLE as example_inputs, StripesNet\n"
        "def make():\n    torch.manual_seed(3)\n    return StripesNet()\n"
    )
    fields = {"teacher": "teach.py:make", "method": "finetune", "learning_rate": 1e-9}
    found, said = taught(tmp_path, made(StripesNet), made(StripesNet), **fields)
    assert said[0] == "starts from 12 of its 12 tensors in the teacher"
    expected = made(StripesNet, 3)
    assert torch.allclose(found.first.weight, expected.first.weight, atol=1e-6)  # type: ignore[arg-type,union-attr]


def test_finetune_from_a_teacher_that_shares_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "teach.py").write_text(
        "from tests.modules import EXAMPLE as example_inputs, StripesNet\n"
        "def make():\n    return StripesNet(8)\n"
    )
    with pytest.raises(ModelError, match="no tensor of the teacher") as caught:
        taught(tmp_path, made(Plain), made(Plain), teacher="teach.py:make", method="finetune")
    assert "kd" in caught.value.hint
