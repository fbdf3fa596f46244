from pathlib import Path

import pytest

from edgepack.base.errors import RequestError
from edgepack.spec import project

WHOLE = """
[model]
source = "model.py:make_model"
name = "digits"
weights = "weights.safetensors"
dynamic = {image = ["batch"]}
shape = {image = [1, 3, 224, 224]}
state = {hn = "h", cn = "c"}

[data]
calibration = "data.py:calibration"
evaluation = "data.py:evaluation"
metric = "top1"
training = "data.py:training"
loss = "data.py:loss"

[build]
targets = ["x86_64", "arm64"]
recipe = "int8"
max_drop = 0.01
strict = true
prefer = "size"
require = "int8"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "edgepack.toml").write_text(text, encoding="utf-8")
    return folder


def test_every_key_arrives_in_its_field(tmp_path: Path) -> None:
    found = project.load(write(tmp_path, WHOLE))
    assert found is not None
    assert found.model.state == {"hn": "h", "cn": "c"}
    assert found.model.dynamic == {"image": ("batch",)}
    assert found.model.shape == {"image": (1, 3, 224, 224)}
    assert (found.data.metric, found.data.loss) == ("top1", "data.py:loss")
    assert found.build.targets == ("x86_64", "arm64")
    assert (found.build.max_drop, found.build.strict) == (0.01, True)


def test_a_folder_without_the_file_is_no_project(tmp_path: Path) -> None:
    assert project.load(tmp_path) is None


def test_every_key_may_be_left_out(tmp_path: Path) -> None:
    assert project.load(write(tmp_path, "")) == project.Project()


def test_a_whole_number_is_a_limit_too(tmp_path: Path) -> None:
    found = project.load(write(tmp_path, "[build]\nmax_drop = 1\n"))
    assert found is not None
    assert found.build.max_drop == 1.0


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[modle]", "did you mean 'model'?"),
        ("[data]\ncalibraton = 'x.npz'", "did you mean 'calibration'?"),
        ("[build]\ntarget = 'arm64'", "did you mean 'targets'?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(
    tmp_path: Path, text: str, hint: str
) -> None:
    with pytest.raises(RequestError, match="unknown field") as caught:
        project.load(write(tmp_path, text))
    assert (caught.value.exit_code, caught.value.hint) == (2, hint)


@pytest.mark.parametrize(
    "text",
    [
        "[build]\nmax_drop = -0.1",
        "[build]\nmax_drop = nan",
        "[build]\nmax_drop = 'small'",
        "[build]\nprefer = 'beauty'",
        "[build]\ntargets = 'arm64'",
        "[model]\nshape = {image = [1, 0]}",
        "model = 3",
        "model = ",
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match=r"edgepack\.toml"):
        project.load(write(tmp_path, text))


def test_a_folder_named_like_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "edgepack.toml").mkdir()
    with pytest.raises(RequestError, match="cannot read"):
        project.load(tmp_path)
