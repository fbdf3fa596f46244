"""A training whose process is killed outright, by the system and not by an exception."""

import signal
import subprocess
import sys
from pathlib import Path

from edgepack.compress import apply
from edgepack.compress.finetune import Finetune
from edgepack.training import checkpoint
from tests.modules import Plain, context, made, same

STEP = Finetune(epochs=4, learning_rate=0.01, batch_size=32, selection=0.2)
VICTIM = """
import dataclasses, sys, time
from pathlib import Path
from edgepack.compress import apply
from edgepack.training.losses import cross_entropy
from tests.integration.test_killed_training import STEP
from tests.modules import Plain, context, made

calls = []

def stopping(outputs, labels):
    calls.append(len(labels))
    if len(calls) == 11:  # two epochs of four steps, and two of the third
        print("in the third epoch", flush=True)
        time.sleep(300)
    return cross_entropy(outputs, labels)

module = made(Plain)
ctx = dataclasses.replace(context(Path(sys.argv[1]), module), loss=stopping)
apply(STEP, "finetune", module, ctx)
"""


def test_sigkill_inside_an_epoch_costs_that_epoch_and_changes_no_byte(tmp_path: Path) -> None:
    module = made(Plain)
    whole, _record, said = apply(STEP, "finetune", module, context(tmp_path / "a", module))
    root, folder = Path(__file__).parents[2], tmp_path / "b"
    command = [sys.executable, "-c", VICTIM, str(folder)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "in the third epoch\n"
        victim.kill()
    assert victim.returncode == -signal.SIGKILL
    told = list[str]()
    ctx = context(folder, module, told)
    left = checkpoint.read(ctx.checkpoint)
    assert left is not None
    assert left.progress.epoch == 2
    resumed, _record, again = apply(STEP, "finetune", module, ctx)
    assert told[0] == "finetune: taken up after epoch 2/4"
    assert same(resumed, whole)
    assert again == said
