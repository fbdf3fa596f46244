"""Generated apps take no more threads than the bundle says and the machine leaves them."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgepack.bundle.open import Bundle, open_bundle
from edgepack.embed import embed
from tests import apps, c_apps

MODULES = Path(__file__).parents[2] / ".node" / "node_modules"  # scripts/setup puts them there
CORES = sorted(os.sched_getaffinity(0))
PYTHON = (
    "import stripes; print(stripes.Model()._session.get_session_options().intra_op_num_threads)"
)
NODE = "import('./runtime.mjs').then((host) => console.log(host.options(0).intraOpNumThreads))"
C = """
#include <dirent.h>
#include <stdio.h>
#include "stripes.h"

int main(int argc, char **argv)
{
    stripes_options options = {.runtime = argc > 1 ? argv[1] : NULL};
    stripes_model *model = stripes_create(&options, NULL);
    DIR *threads = opendir("/proc/self/task");
    int found = -2; /* "." and ".." */

    while (model && readdir(threads))
        found++;
    printf("%d\\n", found);
    closedir(threads);
    stripes_destroy(model);
    return 0;
}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle that asks for two threads."""
    found = open_bundle(apps.stripes(tmp_path_factory.mktemp("stripes")))
    session: dict[str, int | str] = {**found.manifest.runtime.session, "intra_op_num_threads": 2}
    runtime = msgspec.structs.replace(found.manifest.runtime, session=session)
    return replace(found, manifest=msgspec.structs.replace(found.manifest, runtime=runtime))


def command(language: str, app: Path) -> list[str]:
    """Return what prints the number of threads that an app takes."""
    if language == "python":
        return [sys.executable, "-c", PYTHON]
    if language == "node":
        apps.need(
            shutil.which("node") and (MODULES / "onnxruntime-node").is_dir(),
            "no node, or no onnxruntime-node: scripts/setup",
        )
        (app / "node_modules").symlink_to(MODULES)
        return ["node", "-e", NODE]
    (app / "selftest.c").write_text(C)
    c_apps.made(app)
    return ["./selftest", str(c_apps.RUNTIME)]


@pytest.mark.parametrize("language", ["python", "c", "node"])
def test_an_app_takes_the_threads_asked_for_where_there_are_cores_for_them(
    language: str, bundle: Bundle, tmp_path: Path
) -> None:
    embed(bundle, language, app := tmp_path / "app")
    words = command(language, app)
    for cores in (CORES, CORES[:1]):
        bound = ["taskset", "-c", ",".join(map(str, cores)), *words]
        done = subprocess.run(bound, cwd=app, capture_output=True, text=True, check=False)
        assert done.stdout == f"{min(2, len(cores))}\n", done.stderr
