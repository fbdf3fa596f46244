"""``[preprocess]``: decoded strictly, and held to the model."""

import json
from pathlib import Path

import pytest

from edgepack.base.errors import RequestError
from edgepack.cli import main
from edgepack.spec import project
from edgepack.spec.preprocess import Audio, Image, Rule, Text, decode, encode, misfit
from edgepack.spec.signature import Signature, TensorSpec

IMAGE = Image("x", (8, 6), "RGB", "NHWC", "area", 0.5, (0.1, 0.2, 0.3), (1.0,))
TEXT = Text("ids", "vocabulary.txt", 16, "mask", "wordpiece", begin=2, end=3)
AUDIO = Audio("x", 16000, 576, 512)


def signature(*inputs: tuple[str, str, tuple[int | str | None, ...]]) -> Signature:
    return Signature(tuple(TensorSpec(*each) for each in inputs), ())


def read(folder: Path, text: str) -> Rule | None:
    (folder / "edgepack.toml").write_text(f"[preprocess]\n{text}\n")
    found = project.load(folder)
    assert found is not None
    return found.preprocess


def test_every_key_arrives_in_its_field(tmp_path: Path) -> None:
    text = """kind = "image"\ninput = "x"\nsize = [8, 6]\nlayout = "NHWC"\nresize = "area"
scale = 0.5\nmean = [0.1, 0.2, 0.3]"""
    assert read(tmp_path, text) == IMAGE


@pytest.mark.parametrize("rule", [IMAGE, TEXT, AUDIO])
def test_a_rule_is_stored_in_one_spelling(rule: Rule) -> None:
    assert decode(encode(rule)) == rule
    with pytest.raises(ValueError, match="canonical"):
        decode(b" " + encode(rule))
    with pytest.raises(ValueError, match="unknown field"):
        decode(encode(rule).replace(b'"kind"', b'"more":1,"kind"'))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('kind = "image"\ninput = "x"\nsize = [8, 8]\nlayuot = "NCHW"', "did you mean 'layout'?"),
        ('kind = "text"\ninput = "x"\nvocabulary = "v"\nlenght = 3', "did you mean 'length'?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(RequestError, match="unknown field") as caught:
        read(tmp_path, text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "text",
    [
        'kind = "smell"\ninput = "x"',
        'input = "x"',
        'kind = "image"\ninput = "x"\nsize = [0, 8]',
        'kind = "image"\ninput = "x"\nsize = [8, 8, 3]',
        'kind = "image"\ninput = "x"\nsize = [8, 8]\nstd = [0.0]',
        'kind = "image"\ninput = "x"\nsize = [8, 8]\nmean = [0.0, 1.0]',
        'kind = "image"\ninput = "x"\nsize = [8, 8]\nscale = nan',
        'kind = "text"\ninput = "x"\nvocabulary = "v"\nlength = 2\nbegin = 0\nend = 1',
        'kind = "text"\ninput = "x"\nvocabulary = "v"\nlength = 2\nunknown = -1',
        'kind = "audio"\ninput = "x"\nrate = 16000\nframe = 4\nhop = 5',
        'kind = "audio"\ninput = "x"\nrate = 0\nframe = 4',
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match=r"edgepack\.toml"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("rule", "inputs"),
    [
        (IMAGE, [("x", "float32", (1, 8, 6, 3))]),
        (IMAGE, [("x", "float32", ("batch", "h", "w", 3))]),
        (Image("x", (8, 6)), [("x", "uint8", (None, 3, 8, 6))]),
        (TEXT, [("ids", "int64", (1, 16)), ("mask", "int32", ("n", "t"))]),
        (AUDIO, [("x", "float32", (1, 576))]),
        (AUDIO, [("x", "float32", ("batch", 1, 576))]),
    ],
)
def test_a_rule_that_gives_what_the_model_takes_fits(
    rule: Rule, inputs: list[tuple[str, str, tuple[int | str | None, ...]]]
) -> None:
    assert misfit(rule, signature(*inputs)) is None


@pytest.mark.parametrize(
    ("rule", "inputs", "reason"),
    [
        (IMAGE, [("y", "float32", (1, 8, 6, 3))], "feeds 'x', and the model takes y"),
        (IMAGE, [("x", "float32", (1, 3, 8, 6))], r"gives shape \[1, 8, 6, 3\]"),
        (IMAGE, [("x", "float16", (1, 8, 6, 3))], "gives float32"),
        (IMAGE, [("x", "uint8", (1, 8, 6, 3))], "gives float32"),
        (TEXT, [("ids", "int64", (1, 16))], "feeds 'mask'"),
        (AUDIO, [("x", "float32", (1, 512))], r"gives shape \[1, 576\]"),
        (AUDIO, [("x", "float32", (1, 576)), ("sr", "int64", ())], "nothing to input 'sr'"),
    ],
)
def test_a_rule_that_the_model_cannot_use_says_why(
    rule: Rule, inputs: list[tuple[str, str, tuple[int | str | None, ...]]], reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        assert misfit(rule, signature(*inputs)) is None, misfit(rule, signature(*inputs))


@pytest.mark.parametrize("rule", [IMAGE, TEXT, AUDIO])
def test_the_schema_describes_what_a_bundle_holds(
    rule: Rule, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "--schema", "preprocess.json"]) == 0
    schema = json.loads(capsys.readouterr().out)
    plain = json.loads(encode(rule))
    name = schema["discriminator"]["mapping"][plain["kind"]].rpartition("/")[2]
    described = schema["$defs"][name]
    assert set(plain) == set(described["properties"])
    assert set(described["required"]) <= set(plain)
    assert not described["additionalProperties"]


def test_the_schema_of_anything_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--schema", "golden.npz"]) == 2
    assert "no schema of 'golden.npz'" in capsys.readouterr().err
    assert main(["inspect", "--schema"]) == 0
    assert "lineage" in json.loads(capsys.readouterr().out)["$defs"]["Manifest"]["properties"]
