"""Does the runtime work here? Asked in a child: an illegal instruction ends nothing but that."""

import signal
import subprocess
import sys

from edgepack.bench.visit import environment

_CODE = "from edgepack.runtime.saturation import saturates; print(int(saturates()))"
_LIMIT = 120.0  # seconds


def products() -> str:
    """Say how integer products come out here, or why the runtime does not run."""
    command = [sys.executable, "-P", "-c", _CODE]
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, timeout=_LIMIT, check=False, text=True
        )
    except subprocess.TimeoutExpired:
        return "unknown: the runtime does not answer"
    if done.returncode:
        return sentence(done.returncode, done.stderr)
    return "saturate in default mode" if done.stdout.strip() == "1" else "exact"


def sentence(code: int, said: str) -> str:
    """Say how a process that tried the runtime ended."""
    if code == -signal.SIGILL:
        return "unknown: the runtime uses an instruction that this CPU lacks: another build is due"
    if code < 0:
        return f"unknown: the runtime ends its process with signal {-code}"
    last = (said.strip().splitlines() or [f"exit code {code}"])[-1]
    return f"unknown: {last}"
