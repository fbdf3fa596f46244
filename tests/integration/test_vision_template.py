"""The vision template without its data: it says what to install, and its network is prunable."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgepack
from edgepack.base.errors import DataError
from edgepack.base.reference import load_object
from edgepack.compress.prune_channels import PruneChannels
from edgepack.data.samples import open_dataset
from edgepack.plan import plan
from edgepack.runtime.raw.image import sample
from edgepack.spec import project, recipe, target
from edgepack.spec.preprocess import Image
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.training.channels import Aim, prune, to_aim
from edgepack.training.groups import Importance

VISION = Path(edgepack.__file__).parent / "templates" / "vision"


def test_missing_data_are_named_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    copy = tmp_path / "data.py"
    copy.write_text((VISION / "data.py").read_text())
    face = Signature((TensorSpec("image", "float32", ("batch", 1, 28, 28)),), ())
    data = open_dataset("data.py:training", face, labelled=True, folder=tmp_path)
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        next(iter(data))


def test_its_recipe_prunes_distills_and_quantizes() -> None:
    found = plan(recipe.load(str(VISION / "small.toml")), target.load("x86_64", target.BUILT_IN))
    assert [bound.use for bound in found.compress] == ["prune_channels", "distill"]
    assert isinstance(found.compress[0].step, PruneChannels)
    assert found.compress[0].step.round_to == 8
    assert project.load(VISION) is not None


def test_pixels_become_what_its_data_hold() -> None:
    found = project.load(VISION)
    assert found is not None
    assert isinstance(found.preprocess, Image)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    wanted = (pixels[None, None] / 255).astype(np.float32)  # as data.py does
    np.testing.assert_array_equal(sample(pixels, found.preprocess), wanted)


def test_half_of_its_channels_can_be_removed_in_blocks() -> None:
    make: Any = load_object("model.py:make_model", VISION)
    example: Any = load_object("model.py:example_inputs", VISION)
    module = make()
    half = to_aim(Aim(0.5, None, 8), Importance("l2", 0.05))
    said = list(prune(module, example(), (), half))
    widths = {p.shape[0] for name, p in module.named_parameters() if p.ndim == 4}
    assert widths == {16, 32, 64}
    assert "of the MACs" in said[-1]
    assert module(*example())["scores"].shape == torch.Size([2, 10])
