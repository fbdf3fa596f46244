"""Every check that can fail, before anything expensive starts."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgepack import devices
from edgepack.base.errors import DataError, MachineError, RequestError
from edgepack.base.files import beside
from edgepack.data import metrics
from edgepack.gate import place
from edgepack.intake import stored as intake_stored
from edgepack.intake.clock import asks_clock, price
from edgepack.intake.request import PROGRAMS, Job, Request
from edgepack.plan import Plan, plan
from edgepack.spec import project as projects
from edgepack.spec import recipe as recipes
from edgepack.spec import target as targets
from edgepack.spec.manifest import runtime_of
from edgepack.spec.project import ModelTable, Project
from edgepack.spec.step import Skip

EXAMPLE = Path(__file__).parents[1] / "templates" / "digits"
"""What ``edgepack build`` builds where there is nothing to build."""

_LONGEST_NAME = 128
"""Bytes; the target and the suffix of the report must fit a file name of 255 too."""

_BUILD_MODULES = ("onnx", "onnx_ir", "onnxscript", "scipy")
_TRAIN_MODULES = ("accelerate", "safetensors", "torch_pruning")


def check(request: Request) -> Job:
    """Turn a request into a job, or raise the error that the user can mend.

    Raises:
        RequestError: A name, an option or a path is wrong, or an output exists.
        DataError: int8 is required and there are no calibration data.
        MachineError: A package is missing or a folder cannot be written.
    """
    project, folder, notes = _project(request)
    merged = _merge(request, project)
    folders = {
        name: folder if getattr(request, name) is None else Path()
        for name in ("calib", "evaluation", "metric", "training", "loss")
    }
    _check_model(merged, folder, project)
    plans = plans_for(request)
    notes += _shadowing(plans)
    _check_data(merged, folders, plans)
    _check_compress(merged, plans)
    _check_limits(merged)
    metric = _metric(merged, folders["metric"])
    _check_devices(merged, plans)
    name = _checked_name(merged.name or _name(merged))
    paths = tuple(merged.out / f"{name}-{item.target.name}.edgepack" for item in plans)
    _check_outputs(paths, force=merged.force)
    _check_packages(merged)
    model = ModelTable() if project is None else project.model
    return Job(
        request=merged,
        folder=folder,
        data_folders=folders,
        weights=None if model.weights is None else folder / model.weights,
        dynamic={k: tuple(n or None for n in v) for k, v in model.dynamic.items()},
        state=dict(model.state),
        plans=plans,
        paths=paths,
        metric=metric,
        name=name,
        notes=tuple(notes),
        preprocess=None if project is None else project.preprocess,
    )


def report_path(bundle: Path) -> Path:
    """Return where the report of a bundle lies."""
    return bundle.with_name(f"{bundle.stem}.report.json")


def _shadowing(plans: tuple[Plan, ...]) -> list[str]:
    return [
        f"targets/{plan.target.name}.toml hides the built-in target of that name"
        for plan in plans
        if targets.shadows(plan.target)
    ]


def _checked_name(name: str) -> str:
    """Refuse a name that would lead out of the folder for bundles, or hide them."""
    plain = name.isprintable() and len(name.encode("utf-8", "ignore")) <= _LONGEST_NAME
    if not name or name.startswith(".") or re.search(r"[/\\]", name) or not plain:
        raise RequestError(
            "E-USAGE", f"{name!r} is no name for a bundle", hint="--name my-model, no slashes"
        )
    return name


def _check_devices(request: Request, plans: tuple[Plan, ...]) -> None:
    """Open each device asked for; each must stand for at least one target."""
    for name in request.on:
        device = devices.open_device(name)
        reasons = [devices.lacks(device, runtime_of(plan.target)) for plan in plans]
        if all(reasons):
            raise RequestError(
                "E-DEVICE",
                f"{name} cannot stand for {plans[0].target.name!r}: {reasons[0]}",
                hint="leave --on out, or add a target that it can run",
            )
    if request.replay is not None and len(plans) != 1:
        raise RequestError("E-USAGE", "--replay takes one target", hint="build them one by one")
    for target in (item.target for item in plans if request.max_latency is not None):
        if reason := place.find(runtime_of(target), request.on).nowhere:
            raise MachineError(
                "E-DEVICE",
                f"--max-latency needs a device of {target.name}: {reason}",
                hint="add --on ssh://[user@]host, or build on such a machine",
            )


def plans_for(request: Request) -> tuple[Plan, ...]:
    """Return the plan for each target asked for; no model is touched.

    Raises:
        RequestError: No target was given, or a name is wrong.
    """
    project, _folder, _notes = _project(request)
    merged = _merge(request, project)
    return tuple(_plan(name, merged.recipe or "int8") for name in _targets(merged))


def tunes(request: Request) -> bool:
    """Return whether the request, or its project, asks for session options to be tuned."""
    return _merge(request, _project(request)[0]).tune


def _project(request: Request) -> tuple[Project | None, Path, list[str]]:
    """Find the project that stands for a model that was not given."""
    if request.model is not None:
        return None, Path(), []
    if (found := projects.load(Path())) is not None:
        return found, Path(), []
    example = projects.load(EXAMPLE)
    assert example is not None, "the example ships with the package"
    return example, EXAMPLE, ["no model given and no edgepack.toml here: the digits example"]


def _merge(request: Request, project: Project | None) -> Request:
    """Fill in what the request leaves open from the project."""
    if project is None:
        return request
    data, build = project.data, project.build
    return replace(
        request,
        model=project.model.source,
        targets=request.targets or tuple(build.targets),
        recipe=request.recipe or build.recipe,
        calib=request.calib if request.calib is not None else data.calibration,
        evaluation=request.evaluation if request.evaluation is not None else data.evaluation,
        metric=request.metric or data.metric,
        training=request.training if request.training is not None else data.training,
        loss=request.loss or data.loss,
        max_drop=request.max_drop if request.max_drop is not None else build.max_drop,
        prefer=request.prefer or build.prefer,
        strict=request.strict or build.strict,
        require=request.require or build.require,
        tune=request.tune or build.tune,
        shape=request.shape or dict(project.model.shape),
        name=request.name or project.model.name,
    )


def _targets(request: Request) -> tuple[str, ...]:
    if not request.targets:
        raise RequestError(
            "E-TARGET", "no target given", hint="add -t arm64; `edgepack targets` lists them"
        )
    return tuple(dict.fromkeys(request.targets))


def _plan(target: str, recipe: str) -> Plan:
    return plan(recipes.load(recipe), targets.load(target))


def _check_model(request: Request, folder: Path, project: Project | None) -> None:
    model = request.model or ""
    if not model:
        raise RequestError(
            "E-CONFIG", "edgepack.toml names no model", hint='[model] source = "..."'
        )
    if (
        model.lower().endswith(".onnx")
        and project
        and (project.model.weights or project.model.dynamic)
    ):
        raise RequestError(
            "E-CONFIG",
            "[model] weights and dynamic are for torch modules",
            hint="an .onnx file has its own",
        )
    if ":" in model and not model.lower().endswith((".onnx", *PROGRAMS)):
        source = model.rpartition(":")[0]
        if source.endswith(".py"):
            _check_path(folder / source, "model")
        return
    _check_path(folder / model, "model")
    if not model.lower().endswith((".onnx", *PROGRAMS)):
        raise RequestError(
            "E-MODEL-KIND",
            f"cannot tell what kind of model {model!r} is",
            hint="give model.onnx, program.pt2, file.py:name or pkg.module:name",
        )


def _check_path(path: Path, what: str) -> None:
    if not _exists(path):
        raise RequestError("E-PATH", f"no {what} at {str(path)!r}", hint=beside(path))
    if path.is_dir():
        raise RequestError("E-PATH", f"the {what} {str(path)!r} is a directory", hint="give a file")
    if not os.access(path, os.R_OK):
        raise RequestError("E-PATH", f"the {what} {str(path)!r} is not readable")


def _exists(path: Path) -> bool:
    """Whether something can be found there; a path too long or closed to us has nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def _check_data(request: Request, folders: Mapping[str, Path], plans: tuple[Plan, ...]) -> None:
    for what in ("calib", "evaluation", "training"):
        reference = getattr(request, what)
        if not isinstance(reference, str) or ":" in reference:
            continue
        path = folders[what] / reference
        if not _exists(path):
            raise RequestError("E-PATH", f"no data at {str(path)!r}", hint=beside(path))
    for file in (getattr(b.step, "sensitivity", "") for item in plans for b in item.graph):
        if file:
            _check_path(Path(file), "sensitivity file")
    if (kept := intake_stored.path_of(request.calib, folders["calib"])) is not None:
        intake_stored.check(plans, kept)
    static = any(step.use == "quantize_static" for item in plans for step in item.graph)
    if request.require == "int8" and request.calib is None and static:
        raise DataError(
            "E-CAL-EMPTY", "int8 is required and there are no calibration data", hint="add --calib"
        )


def _check_compress(request: Request, plans: tuple[Plan, ...]) -> None:
    """Refuse a recipe that compresses a module where there is none, or that lacks its data."""
    steps = [b for item in plans for b in item.compress if not isinstance(b.step, Skip)]
    model = request.model or ""
    if steps and model.lower().endswith((".onnx", *PROGRAMS)):
        kind = "an .onnx file" if model.lower().endswith(".onnx") else "a program"
        raise RequestError(
            "E-COMPRESS",
            f"step {steps[0].use} needs the torch module, and {model!r} is {kind}",
            hint="give file.py:name of the module; a graph can be quantized: --recipe int8",
        )
    for each in plans if request.replay is None else ():
        if asks_clock(each):
            price(each, request.on)
    trained = next((b for b in steps if hasattr(b.step, "epochs")), None)
    if trained and request.training is None:
        raise DataError(
            "E-TRAIN-DATA",
            f"step {trained.use} trains and there are no training data",
            hint='edgepack.toml: [data] training = "data.py:training"',
        )
    for item in plans:
        _check_rounding(request, item)
    missing = [name for name in _TRAIN_MODULES if steps and find_spec(name) is None]
    if missing:
        raise MachineError(
            "E-EXTRA",
            f"step {steps[0].use} needs {', '.join(missing)}",
            hint="pip install 'edgepack[train]'",
        )


def _check_rounding(request: Request, item: Plan) -> None:
    """Refuse a step that trains the rounding of a plan which does not round, or not right after."""
    steps = [bound for bound in item.compress if not isinstance(bound.step, Skip)]
    first = next((i for i, b in enumerate(steps) if getattr(b.step, "rounds", False)), None)
    if first is None:
        return
    use = steps[first].use
    if first + 1 < len(steps):
        raise RequestError(
            "E-COMPRESS",
            f"step {steps[first + 1].use} comes after {use}, which leaves a graph and no module",
            hint=f"make {use} the last [[compress]] step",
        )
    if not any(b.use == "quantize_static" and not isinstance(b.step, Skip) for b in item.graph):
        raise RequestError(
            "E-COMPRESS",
            f"step {use} trains for rounding, and no step of the recipe rounds",
            hint='[[graph]] use = "quantize_static"',
        )
    if request.calib is None:
        raise DataError(
            "E-CAL-EMPTY",
            f"step {use} starts from measured ranges and there are no calibration data",
            hint="add --calib",
        )


def _check_limits(request: Request) -> None:
    for name in ("max_drop", "max_latency", "max_size"):
        value = getattr(request, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            option = f"--{name.replace('_', '-')}"
            raise RequestError("E-USAGE", f"{option} may not be {value}", hint="a finite number")


def _metric(request: Request, folder: Path) -> metrics.Metric | None:
    """Return the metric, checked even where there is nothing yet to score."""
    if request.metric is None and request.evaluation is None:
        return None
    return metrics.load(request.metric or "top1", folder)


def _name(request: Request) -> str:
    """Name the bundle after the model file: a folder's name would differ from place to place."""
    model = request.model or ""
    if model.lower().endswith((".onnx", *PROGRAMS)):
        return Path(model).stem
    source = model.rpartition(":")[0].removesuffix(".py")
    return Path(source.rpartition(".")[2] or source).name or "model"


def _check_outputs(paths: tuple[Path, ...], *, force: bool) -> None:
    for item in (item for path in paths for item in (path, report_path(path))):
        try:
            item.is_dir()
            folders = item.absolute().parents
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise RequestError("E-PATH", f"no output can be at {str(item)!r}: {reason}") from error
        if item.is_dir():
            raise RequestError(
                "E-EXISTS", f"the output {str(item)!r} is a directory", hint="choose -o or --name"
            )
        if item.exists() and not force:
            raise RequestError(
                "E-EXISTS", f"the output {str(item)!r} exists", hint="add --force to replace it"
            )
        parent = next(folder for folder in folders if _exists(folder))
        if not parent.is_dir():
            raise RequestError(
                "E-PATH", f"{str(parent)!r} is a file, not a folder", hint="choose -o"
            )
        if not os.access(parent, os.W_OK):
            raise MachineError("E-DISK", f"cannot write to {str(parent)!r}", hint="choose -o")


def _check_packages(request: Request) -> None:
    model = request.model or ""
    needed: dict[str, tuple[str, ...]] = {"build": _BUILD_MODULES}
    if not model.lower().endswith(".onnx"):
        needed["torch"] = ("torch",)
    for extra, modules in needed.items():
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            raise MachineError(
                "E-EXTRA",
                f"this needs {', '.join(missing)}",
                hint=f"pip install 'edgepack[{extra}]'",
            )
