import sys

import pytest

from edgepack.base import registry
from edgepack.base.errors import RequestError
from edgepack.spec.step import Step


def test_a_folder_lists_its_files_in_order() -> None:
    passes = registry.names("passes")
    assert list(passes) == sorted(passes)
    assert {"tidy", "quantize_static", "sparsify"} <= set(passes)
    methods = ("entropy", "minmax", "mse", "percentile")
    assert registry.names("calibration.ranges") == methods
    assert "eer" in registry.names("data.metrics")


def test_what_entries_share_is_no_entry() -> None:
    names = registry.names("embed")
    assert set(names) >= {"c", "node", "python"}
    assert not any(name.startswith("_") for name in names)
    with pytest.raises(RequestError, match="no embed named '_javascript'"):
        registry.find("embed", "_javascript")


def test_a_folder_that_is_not_there_offers_nothing() -> None:
    assert registry.names("no.such.folder") == ()


def test_a_file_holds_the_class_of_its_name() -> None:
    assert registry.class_name("quantize_static") == "QuantizeStatic"
    found = registry.find("passes", "quantize_static")
    assert found.__name__ == "QuantizeStatic"
    assert issubclass(found, Step)


def test_listing_imports_nothing() -> None:
    before = set(sys.modules)
    for kind in ("passes", "calibration.ranges", "data.metrics", "devices", "compress"):
        registry.names(kind)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("kind", "name", "code", "word", "hint"),
    [
        ("passes", "quantise_static", "E-STEP", "step", "did you mean 'quantize_static'?"),
        ("passes", "__init__", "E-STEP", "step", "known: "),
        ("compress", "finetun", "E-STEP", "step", "did you mean 'finetune'?"),
        ("data.metrics", "top2", "E-METRIC", "metric", "did you mean"),
        (
            "calibration.ranges",
            "zzz",
            "E-RANGE",
            "range",
            "known: entropy, minmax, mse, percentile",
        ),
    ],
)
def test_an_unknown_name_is_a_wrong_request(
    kind: str, name: str, code: str, word: str, hint: str
) -> None:
    with pytest.raises(RequestError, match=f"^no {word} named '{name}'$") as caught:
        registry.find(kind, name)
    assert caught.value.code == code
    assert caught.value.hint.startswith(hint)
    assert caught.value.exit_code == 2
