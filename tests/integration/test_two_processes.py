"""Training in two processes (gloo, CPU) is training in one with twice the batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgepack.compress import apply
from edgepack.compress.finetune import Finetune
from tests.modules import Plain, context, made


def trained(folder: Path, batch: int) -> dict[str, torch.Tensor]:
    """Train ``Plain`` in as many processes as there are."""
    step = Finetune(epochs=3, learning_rate=0.01, batch_size=batch, selection=0.2, warmup=0.0)
    module = made(Plain)
    found, _record, _said = apply(step, "finetune", module, context(folder, module))
    return dict(found.state_dict())


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    script = [*launch, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", __file__]
    paths = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*script, str(tmp_path)],
        env=os.environ | paths,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one = trained(tmp_path / "one", 32)
    two = load_file(tmp_path / "two.safetensors")
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    state = trained(Path(sys.argv[1]) / "two", 16)
    assert os.environ["WORLD_SIZE"] == "2"
    if os.environ["RANK"] == "0":
        save_file(state, Path(sys.argv[1]) / "two.safetensors")
