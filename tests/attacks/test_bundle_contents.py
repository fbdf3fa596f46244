"""Hostile bundles whose archive is sound: what lies in the manifest, the model, the golden set."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import edgepack
from edgepack.base.errors import SafetyError
from edgepack.bundle import archive

Refused = Any
"""The fixture: takes the bytes of a bundle and the words it must be refused with."""


def external(forge: Any, location: str) -> Any:
    model = forge.model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    forge.members["model.onnx"] = model.SerializeToString()
    return forge.seal()


def golden_with(forge: Any, name: str, data: bytes) -> Any:
    """Put ``data`` in the golden set, beside or in place of a sound member."""
    with np.load(io.BytesIO(forge.members["golden.npz"])) as arrays:
        sound = {f"{key}.npy": npy(arrays[key]) for key in arrays.files}
    forge.members["golden.npz"] = archive.write({**sound, name: data}, deflate=False)
    return forge.seal()


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def header(text: str) -> bytes:
    raw = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw


def test_a_model_other_than_the_manifest_lists_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.listed()
    model = forge.members["model.onnx"]
    forge.members["model.onnx"] = model[:-1] + bytes([model[-1] ^ 1])
    refused(forge.lay(forge.text(data)), "not what the manifest says")


def test_a_manifest_that_lists_other_sizes_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.listed()
    data["files"]["model.onnx"]["bytes"] += 1
    refused(forge.lay(forge.text(data)), "disagree")


def test_a_member_the_manifest_does_not_list_is_refused(forge: Any, refused: Refused) -> None:
    data = forge.listed()
    forge.members["assets/labels"] = b"cat"
    refused(forge.lay(forge.text(data)), "disagree")


def test_a_bundle_without_golden_samples_is_refused(forge: Any, refused: Refused) -> None:
    del forge.members["golden.npz"]
    refused(forge.seal(), "lacks")


def test_a_format_of_the_future_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["format"] = "edgepack/2"
    refused(forge.seal(), "this edgepack reads")


def test_a_manifest_with_an_unknown_key_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["post_install"] = "curl"
    refused(forge.seal(), "unknown field")


def test_a_manifest_whose_unknown_key_steers_the_terminal_is_refused(
    forge: Any, refused: Refused
) -> None:
    forge.manifest["\x1b[2J"] = 1
    refused(forge.seal(), "control characters")


def test_a_manifest_whose_unknown_key_breaks_the_line_is_refused(
    forge: Any, refused: Refused
) -> None:
    forge.manifest["a\nerror[E-FAKE]: all is well"] = 1
    refused(forge.seal(), "unknown field")


def test_a_manifest_with_a_key_twice_is_refused(forge: Any, refused: Refused) -> None:
    twice = forge.text().replace(b'"name":"small"', b'"name":"big","name":"small"')
    refused(forge.lay(twice), "canonical")


def test_a_manifest_of_a_hundred_thousand_brackets_is_refused(forge: Any, refused: Refused) -> None:
    refused(forge.lay(b"[" * 100_000), "recursion")


def test_a_manifest_that_steers_the_terminal_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["name"] = "small\x1b[2J"
    refused(forge.seal(), "control characters")


def test_a_tolerance_that_is_not_a_number_is_refused(forge: Any, refused: Refused) -> None:
    manifest = forge.text()
    refused(forge.lay(manifest.replace(b'"y":1e-6', b'"y":NaN')), "malformed")


def test_a_tolerance_without_end_is_refused(forge: Any, refused: Refused) -> None:
    manifest = forge.text()
    refused(forge.lay(manifest.replace(b'"y":1e-6', b'"y":1e999')), "out of range")


def test_a_negative_tolerance_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["golden"]["tolerance"]["y"] = -1.0
    refused(forge.seal(), "finite number")


def test_an_output_without_tolerance_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["golden"]["tolerance"] = {}
    refused(forge.seal(), "one tolerance")


def test_a_session_option_that_opens_a_folder_is_refused(forge: Any, refused: Refused) -> None:
    key = "session.model_external_initializers_file_folder_path"
    forge.manifest["runtime"]["session"][key] = "/etc"
    refused(forge.seal(), "session option")


def test_a_million_threads_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["runtime"]["session"]["intra_op_num_threads"] = 1_000_000
    refused(forge.seal(), "session option")


def test_a_state_input_of_a_terabyte_is_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["inputs"][0]["shape"] = [2**20, 2**20]
    refused(forge.seal(), "its golden 'x' is not")


def test_weights_in_a_file_beside_are_refused(forge: Any, refused: Refused) -> None:
    refused(external(forge, "weights.bin"), "outside itself")


def test_weights_in_a_file_above_are_refused(forge: Any, refused: Refused) -> None:
    refused(external(forge, "../../etc/passwd"), "outside itself")


def test_weights_at_an_address_in_memory_are_refused(forge: Any, refused: Refused) -> None:
    refused(external(forge, "*/_ORT_MEM_ADDR_/*"), "outside itself")


def test_a_pickle_among_the_golden_samples_is_refused(forge: Any, refused: Refused) -> None:
    refused(
        golden_with(forge, "input.x.npy", npy(np.array([{}, {}], object), allow_pickle=True)),
        "dtype",
    )


def test_golden_samples_cut_short_are_refused(forge: Any, refused: Refused) -> None:
    refused(
        golden_with(forge, "input.x.npy", npy(np.zeros((2, 1, 4), np.float32))[:-1]), "does not fit"
    )


def test_golden_samples_of_a_tebibyte_are_refused(forge: Any, refused: Refused) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 274877906944), }"
    refused(golden_with(forge, "input.x.npy", header(text) + bytes(8)), "does not fit")


def test_golden_samples_whose_size_wraps_to_zero_are_refused(forge: Any, refused: Refused) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4611686018427387904, 2), }"
    refused(golden_with(forge, "input.x.npy", header(text)), "does not fit")


def test_golden_samples_without_a_size_are_refused(forge: Any, refused: Refused) -> None:
    refused(golden_with(forge, "input.x.npy", npy(np.array(1.0, np.float32))), "does not fit")


def test_golden_samples_of_no_bytes_each_are_refused(forge: Any, refused: Refused) -> None:
    text = "{'descr': '<U0', 'fortran_order': False, 'shape': (2, 1, 1000000000000), }"
    refused(golden_with(forge, "input.x.npy", header(text)), "dtype")


def test_golden_samples_of_records_are_refused(forge: Any, refused: Refused) -> None:
    refused(
        golden_with(forge, "input.x.npy", npy(np.zeros(2, [("a", "<f4"), ("b", "<f4")]))), "dtype"
    )


def test_a_golden_header_of_brackets_is_refused(forge: Any, refused: Refused) -> None:
    raw = b"(" * 60_000
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw
    refused(golden_with(forge, "input.x.npy", data), "not that of an array")


def test_golden_samples_that_are_not_numbers_are_refused(forge: Any, refused: Refused) -> None:
    refused(golden_with(forge, "input.x.npy", b"\x80\x04K\x01."), "not that of an array")


def test_golden_samples_under_another_name_are_refused(forge: Any, refused: Refused) -> None:
    refused(golden_with(forge, "input.z.npy", npy(np.zeros((2, 1, 4), np.float32))), "other names")


def test_golden_samples_for_a_stranger_are_refused(forge: Any, refused: Refused) -> None:
    refused(golden_with(forge, "../evil.npy", npy(np.zeros((2, 1, 4), np.float32))), "has a member")


def test_golden_samples_of_another_number_are_refused(forge: Any, refused: Refused) -> None:
    forge.manifest["golden"]["n"] = 3
    refused(forge.seal(), "golden samples, there are")


def test_a_bomb_inside_the_golden_samples_is_refused(forge: Any, refused: Refused) -> None:
    forge.members["golden.npz"] = forge.deflated(
        "input.x.npy", npy(np.zeros((2, 10**6), np.float32))
    )
    refused(forge.seal(), "100 times")


def test_a_manifest_that_describes_another_model_is_refused(forge: Any, tmp_path: Path) -> None:
    model = forge.model()
    model.graph.input[0].name = model.graph.node[0].input[0] = "z"
    forge.members["model.onnx"] = model.SerializeToString()
    path = tmp_path / "other.edgepack"
    path.write_bytes(forge.seal())
    with pytest.raises(SafetyError, match="another model"):
        edgepack.load(path)
