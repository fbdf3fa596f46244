from pathlib import Path

import pytest

from edgepack.base.errors import RequestError
from edgepack.spec import recipe


def test_int8_measures_ranges_after_batch_norms_are_folded() -> None:
    steps = [step["use"] for step in recipe.load("int8").graph]
    lossless = ["tidy", "fold_batchnorm", "remove_dead_channels", "part_norms"]
    rounding = ["quantize_static", "quantize_dynamic", "float16"]
    assert steps == [*lossless, *rounding, "share_transposed"]


def test_a_recipe_is_printed_as_it_is_written() -> None:
    assert 'use = "quantize_static"' in recipe.source("int8")


def test_a_file_is_a_recipe_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('objective = "size"\n[[graph]]\nuse = "tidy"\n', encoding="utf-8")
    found = recipe.load(str(path))
    assert (found.name, found.objective, found.graph) == ("mine", "size", ({"use": "tidy"},))


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RequestError, match="no recipe named 'int-8'") as caught:
        recipe.load("int-8")
    assert (caught.value.code, caught.value.hint) == ("E-RECIPE", "did you mean 'int8'?")


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[graphs]]\nuse = "tidy"\n', encoding="utf-8")
    with pytest.raises(RequestError, match="unknown field") as caught:
        recipe.load(str(path))
    assert caught.value.hint == "did you mean 'graph'?"


def test_a_missing_file_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot read"):
        recipe.load(str(tmp_path / "none.toml"))
