"""Recipes with ``[[compress]]`` steps, from a torch module to a bundle."""

import shutil
from pathlib import Path

import pytest

import edgepack
from edgepack.base.errors import DataError, EdgepackError, MachineError, RequestError
from edgepack.build import run
from edgepack.intake.request import Request
from edgepack.report import record
from edgepack.report.built import Built
from tests.projects import write_stripes

STEPS = """
[[graph]]
use = "tidy"

[[graph]]
use = "fold_batchnorm"

[[graph]]
use = "quantize_static"
"""
MODEL = """
import sys
sys.path.insert(0, {tests!r})
import torch
from tests.modules import EXAMPLE as example_inputs, StripesNet

def make_model():
    torch.manual_seed(0)
    return StripesNet()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_stripes(tmp_path)
    (tmp_path / "model.py").write_text(MODEL.format(tests=str(Path(__file__).parents[2])))
    (tmp_path / "data.py").write_text(
        "from tests.modules import training_data\n"
        "def training():\n"
        "    for item in training_data():\n"
        "        yield item.samples[0], item.labels[0]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path / "cache"))
    return tmp_path


def built(recipe: str, *targets: str, tell: list[str], **options: object) -> list[Built]:
    Path("own.toml").write_text(recipe + STEPS)
    fields: dict[str, object] = {
        "model": "model.py:make_model",
        "training": "data.py:training",
        "calib": "calib.npz",
        "evaluation": "eval.npz",
        "metric": "top1",
        "max_drop": 1.0,
        "require": "int8",
        "recipe": "own.toml",
        "targets": targets,
        "force": True,
    }
    found = list(run(Request.of(fields | options), tell.append))
    for outcome in found:
        if isinstance(outcome, EdgepackError):
            raise outcome
    return [outcome for outcome in found if isinstance(outcome, Built)]


TRAIN = "epochs = 4\nbatch_size = 32\nlearning_rate = 0.01\n"
FINETUNE = '[[compress]]\nuse = "finetune"\nepochs = 3\nbatch_size = 32\nlearning_rate = 0.01\n'


@pytest.mark.usefixtures("project")
def test_a_recipe_trains_and_the_manifest_says_how() -> None:
    told = list[str]()
    one, two = built(FINETUNE, "x86_64", "arm64", tell=told)
    assert sum("finetune: epoch 1/3" in sentence for sentence in told) == 1  # once for both
    step = one.manifest.lineage.steps[0]
    assert step.use == "finetune"
    assert step.parameters["learning_rate"] == 0.01
    assert len(one.manifest.lineage.training_sha256) == 64
    assert any(note.startswith("finetune: trained 3") for note in one.manifest.lineage.notes)
    accuracy = two.manifest.accuracy
    assert accuracy is not None
    assert accuracy.shipped > 0.95 > accuracy.float_
    assert two.manifest.precision.operators["Conv"] == {"int8": 3}


@pytest.mark.usefixtures("project")
def test_a_second_build_takes_the_training_up_and_gives_the_same_bytes() -> None:
    told = list[str]()
    (first,) = built(FINETUNE, "x86_64", tell=told)
    (second,) = built(FINETUNE, "x86_64", tell=told, out="again")
    shutil.rmtree("cache")
    (third,) = built(FINETUNE, "x86_64", tell=told, out="anew")
    assert first.sha256 == second.sha256 == third.sha256
    assert any("taken up after epoch 3/3" in sentence for sentence in told)


TEACHER = """
import torch
from tests.modules import EXAMPLE as example_inputs, StripesNet

def make():
    torch.manual_seed({seed})
    return StripesNet(8)
"""


def test_another_teacher_in_the_same_file_is_trained_under_anew(project: Path) -> None:
    taught = f'[[compress]]\nuse = "distill"\nteacher = "teach.py:make"\n{TRAIN}'
    told, digests = list[str](), list[str]()
    for seed in (1, 1, 2):
        (project / "teach.py").write_text(TEACHER.format(seed=seed))
        digests += [found.sha256 for found in built(taught, "x86_64", tell=told)]
    assert digests[0] == digests[1] != digests[2]
    assert sum("taken up after epoch 4/4" in sentence for sentence in told) == 1


@pytest.mark.usefixtures("project")
def test_evaluating_on_training_samples_is_refused() -> None:
    with pytest.raises(DataError, match="training samples too"):
        built(FINETUNE, "x86_64", tell=[], evaluation="data.py:training")


@pytest.mark.usefixtures("project")
def test_an_onnx_file_cannot_be_trained() -> None:
    with pytest.raises(RequestError, match="finetune needs the torch module") as caught:
        built(FINETUNE, "x86_64", tell=[], model="model.onnx")
    assert "--recipe int8" in caught.value.hint


@pytest.mark.usefixtures("project")
def test_training_without_data_is_refused_before_the_model_is_read() -> None:
    with pytest.raises(DataError, match="no training data"):
        edgepack.build("model.py:absent", target="x86_64", recipe=_only(FINETUNE))


def _only(recipe: str) -> str:
    Path("own.toml").write_text(recipe + STEPS)
    return "own.toml"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "steps",
    [
        ("prune_channels", "distill"),
        ("prune_magnitude", "finetune"),
        ("regularize", "distill"),
    ],
)
def test_every_step_ends_in_an_int8_bundle_that_tells_its_story(steps: tuple[str, ...]) -> None:
    # the module is untrained, so its words as a teacher weigh little
    fields = {
        "prune_channels": "fraction = 0.5\n",
        "distill": f'method = "kd"\nalpha = 0.1\n{TRAIN}',
    }
    recipe = "".join(f'[[compress]]\nuse = "{step}"\n{fields.get(step, TRAIN)}\n' for step in steps)
    (found,) = built(recipe, "x86_64", tell=[])
    lineage = found.manifest.lineage
    assert [step.use for step in lineage.steps[:2]] == list(steps)
    assert not any(step.skipped for step in lineage.steps)
    accuracy = found.manifest.accuracy
    assert accuracy is not None
    assert accuracy.shipped > 0.9
    assert found.manifest.precision.operators["Conv"] == {"int8": 3}


BY_LATENCY = '[[compress]]\nuse = "prune_channels"\nlatency = 0.8\nround_to = 8\n' + FINETUNE


def test_pruning_by_latency_is_decided_by_a_clock_and_replayed_without_one(project: Path) -> None:
    text = MODEL.format(tests=str(Path(__file__).parents[2]))
    (project / "model.py").write_text(text.replace("StripesNet()", "StripesNet(128)"))
    told = list[str]()
    (first,) = built(BY_LATENCY, "x86_64", tell=told)
    assert any("of the original's time" in sentence for sentence in told)
    assert not any("original's time" in note for note in first.manifest.lineage.notes)
    decided = record.load(first.report, "x86_64").decided["0-prune_channels"]
    assert decided.steps
    assert decided.interval[1] <= 0.8
    shutil.rmtree("cache")
    told.clear()
    (again,) = built(BY_LATENCY, "x86_64", tell=told, out="again", replay=first.report)
    assert again.sha256 == first.sha256
    assert not any("original's time" in sentence for sentence in told)
    assert project.joinpath("cache").is_dir()


@pytest.mark.usefixtures("project")
def test_pruning_by_latency_without_a_device_of_the_target_is_refused_at_once() -> None:
    with pytest.raises(MachineError, match="latency needs a device of arm64") as caught:
        built(BY_LATENCY, "arm64", tell=[])
    assert "macs" in caught.value.hint


QAT = '[[compress]]\nuse = "qat"\nbits = {bits}\n' + TRAIN


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("bits", [8, 4])
def test_what_was_trained_under_rounding_ships_with_the_scales_that_were_learned(bits: int) -> None:
    told = list[str]()
    (found,) = built(QAT.format(bits=bits), "x86_64", tell=told)
    manifest = found.manifest
    uses = [step.use for step in manifest.lineage.steps]
    assert uses == ["qat", "tidy", "fold_batchnorm", "quantize_static"]
    assert not any(step.skipped for step in manifest.lineage.steps)
    assert manifest.precision.operators["Conv"] == {"int8": 3}
    assert manifest.accuracy is not None
    assert manifest.accuracy.shipped > 0.95 > manifest.accuracy.float_
    assert any(note.startswith("qat: trained 4 epochs") for note in manifest.lineage.notes)
    (again,) = built(QAT.format(bits=bits), "x86_64", tell=told, replay=found.report, out="again")
    assert again.sha256 == found.sha256
    shutil.rmtree("cache")
    (anew,) = built(QAT.format(bits=bits), "x86_64", tell=told, out="anew")
    assert anew.sha256 == found.sha256


@pytest.mark.usefixtures("project")
def test_a_target_without_integer_kernels_ships_what_was_not_trained_for_them() -> None:
    told = list[str]()
    found = built(QAT.format(bits=7), "x86_64", tell=told)
    found += built(QAT.format(bits=7), "cuda", tell=told, require=None)
    assert sum("qat: epoch 1/4" in sentence for sentence in told) == 1
    steps = [one.manifest.lineage.steps[0] for one in found]
    assert [step.use for step in steps] == ["qat", "qat"]
    assert not steps[0].skipped
    assert "no integer kernels" in steps[1].skipped


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        (QAT.format(bits=8) + FINETUNE, {}, "finetune comes after qat"),
        (QAT.format(bits=8), {"calib": None, "require": None}, "qat starts from measured ranges"),
        (QAT.format(bits=5), {}, "bits"),
    ],
)
def test_training_under_rounding_that_cannot_be_is_refused_before_any_work(
    recipe: str, options: dict[str, object], said: str
) -> None:
    told = list[str]()
    with pytest.raises(EdgepackError, match=said):
        built(recipe, "x86_64", tell=told, **options)
    assert not any("reading" in sentence for sentence in told)


@pytest.mark.usefixtures("project")
def test_training_under_rounding_needs_a_step_that_rounds() -> None:
    Path("own.toml").write_text(QAT.format(bits=8) + '[[graph]]\nuse = "tidy"\n')
    with pytest.raises(RequestError, match="no step of the recipe rounds") as caught:
        edgepack.build(
            "model.py:make_model",
            target="x86_64",
            recipe="own.toml",
            training="data.py:training",
            calib="calib.npz",
        )
    assert caught.value.hint == '[[graph]] use = "quantize_static"'
