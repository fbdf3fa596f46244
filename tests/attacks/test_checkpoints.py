"""Hostile and damaged checkpoints: code in them never runs."""

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepack.base.errors import EdgepackError, ModelError, RequestError, SafetyError
from edgepack.export.program import load_program
from edgepack.export.weights import load_weights
from tests.torch_models import normal

Edit = Callable[[dict[str, bytes]], object]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def saved(thing: object) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def refused(action: Callable[[], object], code: str, kind: type[EdgepackError]) -> str:
    with pytest.raises(kind) as caught:
        action()
    assert caught.value.code == code
    return str(caught.value)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    linear = torch.nn.Linear(3, 2).eval()
    batch = {"input": {0: torch.export.Dim.DYNAMIC}}
    torch.export.save(torch.export.export(linear, (normal(2, 3),), dynamic_shapes=batch), path)
    return path.read_bytes()


def edited(data: bytes, folder: Path, edit: Edit) -> Path:
    """Write a program again, with its members changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    path = folder / "evil.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def member(members: dict[str, bytes], end: str) -> str:
    return next(name for name in members if name.endswith(end))


def replaced(old: str, new: str) -> Edit:
    def edit(members: dict[str, bytes]) -> None:
        name = member(members, "models/model.json")
        assert old.encode() in members[name]
        members[name] = members[name].replace(old.encode(), new.encode())

    return edit


def test_an_honest_program_is_let_through(program: bytes, tmp_path: Path) -> None:
    found = load_program(edited(program, tmp_path, dict))
    assert found.graph_signature.user_inputs == ("input",)


LINEAR = "torch.ops.aten.linear.default"


@pytest.mark.parametrize(
    "edit",
    [
        replaced(LINEAR, "torch.os.system"),
        replaced(LINEAR, "torch.ops.load_library.__call__"),
        replaced(LINEAR, "_operator.methodcaller"),
        replaced("Symbol('s", "__import__('os').system('touch /tmp/x') or Symbol('s"),
    ],
)
def test_a_program_may_not_name_more_than_operators(
    program: bytes, tmp_path: Path, edit: Edit
) -> None:
    path = edited(program, tmp_path, edit)
    refused(lambda: load_program(path), "E-PICKLE", SafetyError)


def test_a_pickled_object_in_a_program_never_runs(program: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def sample(members: dict[str, bytes]) -> None:
        members[member(members, "sample_inputs/model.pt")] = saved((Payload(mark),))

    def constant(members: dict[str, bytes]) -> None:
        name = member(members, "model_constants_config.json")
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
        members[name] = json.dumps({"config": {"c": entry}}).encode()

    def compiled(members: dict[str, bytes]) -> None:
        members[f"{member(members, 'archive_format').split('/')[0]}/data/aotinductor/m/m.so"] = b""

    for edit in (sample, constant, compiled):
        refused(partial(load_program, edited(program, tmp_path, edit)), "E-PICKLE", SafetyError)
    assert not mark.exists()


def test_checkpoints_that_are_no_programs_are_refused(program: bytes, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "m.pt2"
    for data, code, kind in (
        (saved(Payload(mark)), "E-PICKLE", SafetyError),
        (b"\x80\x02}q\x00.", "E-PICKLE", SafetyError),
        (program[: len(program) // 2], "E-CKPT-TRUNC", ModelError),
        (b"hello", "E-MODEL-TYPE", ModelError),
        (b"", "E-MODEL-TYPE", ModelError),
    ):
        path.write_bytes(data)
        refused(lambda: load_program(path), code, kind)
    refused(lambda: load_program(tmp_path), "E-PATH", RequestError)
    refused(lambda: load_program(tmp_path / "none.pt2"), "E-PATH", RequestError)
    assert not mark.exists()


def test_weights_are_never_unpickled_into_objects(tmp_path: Path) -> None:
    mark, path, module = tmp_path / "mark", tmp_path / "w.pt", torch.nn.Linear(3, 2)
    good = saved(module.state_dict())
    for data, code, kind in (
        (saved(Payload(mark)), "E-PICKLE", SafetyError),
        (saved(module), "E-PICKLE", SafetyError),
        (good[: len(good) // 2], "E-CKPT-TRUNC", ModelError),
        (saved([1, 2]), "E-WEIGHTS", ModelError),
    ):
        path.write_bytes(data)
        refused(lambda: load_weights(module, path), code, kind)
    assert not mark.exists()


def safetensors(header: dict[str, object], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_safetensors_are_read_and_their_lies_refused(tmp_path: Path) -> None:
    module, path = torch.nn.Linear(3, 1), tmp_path / "w.safetensors"
    weight, bias = np.array([[1, 2, 3]], np.float32), np.array([4], np.float32)
    entry = {"dtype": "F32", "shape": [1, 3], "data_offsets": [0, 12]}
    header = {"weight": entry, "bias": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}
    body = weight.tobytes() + bias.tobytes()
    path.write_bytes(safetensors({"__metadata__": {"format": "pt"}, **header}, body))
    load_weights(module, path)
    assert module.weight.tolist() == [[1, 2, 3]]
    for lie, code, kind in (
        ({"data_offsets": [0, 99]}, "E-CKPT-TRUNC", ModelError),
        ({"data_offsets": [-12, 0]}, "E-WEIGHTS", ModelError),
        ({"shape": [1, 4]}, "E-WEIGHTS", ModelError),
        ({"shape": [2**20, 2**20]}, "E-CAP", SafetyError),
        ({"dtype": "X"}, "E-WEIGHTS", ModelError),
    ):
        path.write_bytes(safetensors({**header, "weight": {**entry, **lie}}, body))
        refused(lambda: load_weights(module, path), code, kind)
    path.write_bytes(b"\xff" * 20)
    refused(lambda: load_weights(module, path), "E-CKPT-TRUNC", ModelError)
