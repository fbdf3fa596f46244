"""Every check that can fail, before anything expensive starts."""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path

from edgepack import devices
from edgepack.base.errors import DataError, MachineError, RequestError, nearest
from edgepack.data import metrics
from edgepack.intake.request import PROGRAMS, Job, Request
from edgepack.plan import Plan, plan
from edgepack.spec import project as projects
from edgepack.spec import recipe as recipes
from edgepack.spec import target as targets
from edgepack.spec.project import Project

TEMPLATES = Path(__file__).parents[1] / "templates"
EXAMPLE = TEMPLATES / "digits"
"""What ``edgepack build`` builds where there is nothing to build."""

_BUILD_MODULES = ("onnx", "onnx_ir", "onnxscript", "scipy")


def check(request: Request) -> Job:
    """Turn a request into a job, or raise the error that the user can mend.

    Raises:
        RequestError: A name, an option or a path is wrong, or an output exists.
        DataError: int8 is required and there are no calibration data.
        MachineError: A package is missing or a folder cannot be written.
    """
    project, folder, notes = _project(request)
    merged = _merge(request, project)
    _check_model(merged, folder)
    plans = plans_for(request)
    for item in plans:
        if targets.shadows(item.target):
            notes.append(f"targets/{item.target.name}.toml hides the built-in target of that name")
    _check_data(merged, folder, plans)
    metric = None if merged.evaluation is None else _metric(merged, folder)
    for device in merged.on:
        devices.open_device(device)
    name = merged.name or _name(merged, folder)
    paths = tuple(merged.out / f"{name}-{item.target.name}.edgepack" for item in plans)
    _check_outputs(paths, force=merged.force)
    _check_packages(merged)
    model = None if project is None else project.model
    return Job(
        request=merged,
        folder=folder,
        weights=None if model is None or model.weights is None else folder / model.weights,
        dynamic={}
        if model is None
        else {k: tuple(n or None for n in v) for k, v in model.dynamic.items()},
        state={} if model is None else dict(model.state),
        plans=plans,
        paths=paths,
        metric=metric,
        name=name,
        notes=tuple(notes),
    )


def plans_for(request: Request) -> tuple[Plan, ...]:
    """Return the plan for each target asked for; no model is touched.

    Raises:
        RequestError: No target was given, or a name is wrong.
    """
    project, _folder, _notes = _project(request)
    merged = _merge(request, project)
    return tuple(_plan(name, merged.recipe or "int8") for name in _targets(merged))


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
        max_drop=request.max_drop if request.max_drop is not None else build.max_drop,
        prefer=request.prefer or build.prefer,
        strict=request.strict or build.strict,
        require=request.require or build.require,
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


def _check_model(request: Request, folder: Path) -> None:
    model = request.model or ""
    if ":" in model and not model.endswith((".onnx", *PROGRAMS)):
        source = model.rpartition(":")[0]
        if source.endswith(".py"):
            _check_path(folder / source, "model")
        return
    _check_path(folder / model, "model")
    if not model.endswith((".onnx", *PROGRAMS)):
        raise RequestError(
            "E-MODEL-KIND",
            f"cannot tell what kind of model {model!r} is",
            hint="give model.onnx, program.pt2, file.py:name or pkg.module:name",
        )


def _check_path(path: Path, what: str) -> None:
    if not path.exists():
        known = [item.name for item in path.parent.glob("*")] if path.parent.is_dir() else []
        hint = nearest(path.name, known) if known else "check the path"
        raise RequestError("E-PATH", f"no {what} at {str(path)!r}", hint=hint)
    if path.is_dir():
        raise RequestError("E-PATH", f"the {what} {str(path)!r} is a directory", hint="give a file")
    if not os.access(path, os.R_OK):
        raise RequestError("E-PATH", f"the {what} {str(path)!r} is not readable")


def _check_data(request: Request, folder: Path, plans: tuple[Plan, ...]) -> None:
    for what, reference in (("calibration", request.calib), ("evaluation", request.evaluation)):
        if not isinstance(reference, str) or ":" in reference:
            continue
        if not (folder / reference).exists():
            raise RequestError("E-PATH", f"no {what} data at {str(folder / reference)!r}")
    static = any(step.use == "quantize_static" for item in plans for step in item.graph)
    if request.require == "int8" and request.calib is None and static:
        raise DataError(
            "E-CAL-EMPTY", "int8 is required and there are no calibration data", hint="add --calib"
        )


def _metric(request: Request, folder: Path) -> metrics.Metric:
    return metrics.load(request.metric or "top1", folder)


def _name(request: Request, folder: Path) -> str:
    """Name the bundle after the model file, or after the folder of the project."""
    if folder == EXAMPLE:
        return EXAMPLE.name
    model = request.model or ""
    if model.endswith((".onnx", *PROGRAMS)):
        return Path(model).stem
    source = model.rpartition(":")[0].removesuffix(".py")
    return Path(source.rpartition(".")[2] or source).name or "model"


def _check_outputs(paths: tuple[Path, ...], *, force: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise RequestError("E-EXISTS", f"the output {str(path)!r} is a directory")
        if path.exists() and not force:
            raise RequestError(
                "E-EXISTS", f"the output {str(path)!r} exists", hint="add --force to replace it"
            )
        parent = next(item for item in path.absolute().parents if item.exists())
        if not parent.is_dir():
            raise RequestError("E-PATH", f"{str(parent)!r} is a file, not a folder")
        if not os.access(parent, os.W_OK):
            raise MachineError("E-DISK", f"cannot write to {str(parent)!r}", hint="choose -o")


def _check_packages(request: Request) -> None:
    model = request.model or ""
    needed: dict[str, tuple[str, ...]] = {"build": _BUILD_MODULES}
    if not model.endswith(".onnx"):
        needed["torch"] = ("torch",)
    for extra, modules in needed.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            raise MachineError(
                "E-EXTRA",
                f"this needs {', '.join(missing)}",
                hint=f"pip install 'edgepack[{extra}]'",
            )
