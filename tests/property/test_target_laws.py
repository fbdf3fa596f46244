"""Laws over every file of ``targets/`` and ``edgepack/recipes/``: a new one is held to them."""

import re
from pathlib import Path

import msgspec
import pytest

from edgepack.base import registry
from edgepack.runtime.emulated_cpus import find
from edgepack.spec import project, recipe, target

NAMES = target.names(target.BUILT_IN)
TARGETS = [target.load(name, target.BUILT_IN) for name in NAMES]
RECIPES = recipe.names()

RUNTIMES = {"1.20": (21, 10)}
"""ONNX Runtime -> newest opset and IR it opens. Tried with the wheel of 1.20.0: 22 and 11 are
refused; its docs, Compatibility, say ONNX 1.16 of 1.20, which is opset 21 and IR 10."""

SPELLINGS = {"avx2", "fma", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm"}
"""As in linux, arch/x86/include/asm/cpufeatures.h and Documentation/arch/arm64/elf_hwcaps.rst."""

CPU = "CPUExecutionProvider"
PROVIDERS = {CPU, "CUDAExecutionProvider", "TensorrtExecutionProvider"}
"""In the spelling of ``onnxruntime.get_all_providers()``."""

SELF_EVIDENT = {"name", "origin", "summary", "sources"}


@pytest.fixture(params=TARGETS, ids=NAMES)
def facts(request: pytest.FixtureRequest) -> target.Target:
    assert isinstance(request.param, target.Target)
    return request.param


def stated(facts: target.Target) -> set[str]:
    fields = msgspec.structs.fields(facts)
    return {field.name for field in fields if getattr(facts, field.name) != field.default}


def sourced(line: str) -> set[str]:
    return set(line.split(":", maxsplit=1)[0].split(", "))


def test_the_targets_of_the_house_are_there() -> None:
    assert set(NAMES) == {
        *("x86_64", "x86_64-vnni", "arm64", "arm64-dotprod", "arm64-i8mm", "cuda", "tensorrt"),
        *("raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "web"),
    }


def test_a_target_is_named_after_its_file(facts: target.Target) -> None:
    assert (target.BUILT_IN / f"{facts.name}.toml").is_file()
    assert facts.origin == "built-in"
    assert re.fullmatch(r"[a-z0-9_]+(-[a-z0-9_]+)*", facts.name)
    assert 0 < len(facts.summary) < 90


def test_every_fact_has_a_source(facts: target.Target) -> None:
    covered = set().union(*(sourced(line) for line in facts.sources))
    assert stated(facts) - SELF_EVIDENT <= covered


def test_every_source_speaks_of_a_fact_and_says_where_to_look(facts: target.Target) -> None:
    fields = {field.name for field in msgspec.structs.fields(facts)} - SELF_EVIDENT
    for line in facts.sources:
        assert sourced(line) <= fields, line
        assert len(line.split(": ", 1)[1]) > 10, line


def test_a_feature_is_spelled_as_the_kernel_spells_it(facts: target.Target) -> None:
    for feature in facts.features:
        assert set(feature.split("|")) <= SPELLINGS


def test_what_a_gpu_lacks_runs_on_the_cpu(facts: target.Target) -> None:
    assert set(facts.providers) <= PROVIDERS
    assert facts.providers[-1] == CPU
    assert len(set(facts.providers)) == len(facts.providers)


def test_a_saturating_machine_multiplies_unsigned_by_signed_on_x86(facts: target.Target) -> None:
    if facts.int8 is not None and facts.int8.saturating:
        assert (facts.int8.activations, facts.int8.weights) == ("uint8", "int8")
        assert facts.arch == "x86_64"


def test_symmetric_activations_are_signed(facts: target.Target) -> None:
    if facts.int8 is not None and facts.int8.symmetric:
        assert facts.int8.activations == "int8"


def test_tensorrt_wants_symmetric_bytes_and_float_biases(facts: target.Target) -> None:
    if facts.provider == "TensorrtExecutionProvider":
        assert facts.int8 is not None
        assert facts.int8.symmetric
        assert facts.int8.bias == "float32"


def test_a_cpu_opens_what_its_oldest_runtime_opens(facts: target.Target) -> None:
    opset, ir_version = RUNTIMES[facts.min_runtime]
    assert facts.max_ir == ir_version
    # TensorRT parses the model once more, with an older parser.
    assert facts.max_opset == opset or facts.provider == "TensorrtExecutionProvider"
    assert facts.max_opset <= opset


def test_an_emulated_cpu_has_what_its_target_needs(facts: target.Target) -> None:
    for cpu in facts.emulate:
        assert facts.arch == "aarch64"
        assert target.lacking(facts.features, find(cpu).features.split()) == ()


def test_an_arm_cpu_is_always_emulated_and_a_gpu_never(facts: target.Target) -> None:
    assert bool(facts.emulate) == (facts.arch == "aarch64" and facts.provider == CPU)


def test_a_target_is_not_emulated_on_the_cpu_of_a_better_one(facts: target.Target) -> None:
    for better in TARGETS:
        if set(facts.features) < set(better.features):
            for cpu in facts.emulate:
                assert target.lacking(better.features, find(cpu).features.split()), better.name


def test_a_board_multiplies_as_its_kind_does(facts: target.Target) -> None:
    for other in TARGETS:
        if (other.arch, other.provider, other.features) == (
            facts.arch,
            facts.provider,
            facts.features,
        ):
            assert other.int8 == facts.int8, other.name
            assert other.channel_multiple == facts.channel_multiple, other.name


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads_strictly_and_says_what_it_does(name: str) -> None:
    found = recipe.load(name)
    assert found.name == name
    assert found.summary
    assert found.graph or found.compress


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_never_mentions_a_target(name: str) -> None:
    words = set(re.findall(r"[\w-]+", recipe.source(name)))
    assert not words & set(NAMES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_holds_steps_that_exist_with_fields_they_have(name: str) -> None:
    found = recipe.load(name)
    for kind, steps in (("passes", found.graph), ("compress", found.compress)):
        for step in steps:
            fields = {key: value for key, value in step.items() if key != "use"}
            msgspec.convert(fields, registry.find(kind, str(step["use"])))


def test_the_projects_of_the_templates_load() -> None:
    templates = Path(project.__file__).parents[1] / "templates"
    for path in templates.glob("*/edgepack.toml"):
        assert project.load(path.parent) is not None
