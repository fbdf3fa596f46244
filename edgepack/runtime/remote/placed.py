"""The C runner on a device without Python: put there once, and looked at before it is used.

It lies in the user's cache folder there, below a name that stands for its content; what lies there
is taken only where its digest is right. Those that nobody used for a month go when one comes.
"""

import shlex

from edgepack.base.errors import MachineError
from edgepack.runtime.remote.link import Link, Said
from edgepack.runtime.remote.stage import Agent, Corner, put
from edgepack.runtime.runners import PROGRAM, Runner

_CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}/edgepack"'
_NEEDS = (
    "it takes 64-bit Linux with glibc 2.28 or newer and libstdc++, or a Python with onnxruntime"
)


def place(link: Link, runner: Runner) -> Agent:
    """Return the runner on the device, which takes it where it is not there yet.

    Raises:
        MachineError: There is no room for it, or it does not start there.
    """
    folder = f"{_CACHE}/runner-{runner.key}"
    heard = _Heard()
    link.run(f'{_whole(runner, folder)} && touch {folder} && cd {folder} && say at "$PWD"', heard)
    if not heard.folder:
        corner = Corner(_CACHE, "runner-", days=30, then=_settle(runner, folder))
        put(link, runner.files, corner, heard)
    agent = Agent((f"{heard.folder}/{PROGRAM}",), {})
    _require_start(link, agent)
    return agent


class _Heard:
    """What the device says of where the runner lies."""

    def __init__(self) -> None:
        self.folder = ""

    def __call__(self, said: Said) -> None:
        self.folder = said.after("at") or self.folder


def _whole(runner: Runner, folder: str) -> str:
    """Return a shell command that succeeds where every file is what it should be."""
    sums = " ".join(f"{digest} {name}" for name, digest in runner.digests.items())
    check = f'printf "%s  %s\\n" {sums} | sha256sum -c'
    return f"(cd {folder} && {check}) >/dev/null 2>&1"


def _settle(runner: Runner, folder: str) -> str:
    """Return a script that moves what has come in ``$d`` to where it is looked for."""
    damaged = 'rm -rf "$d"; echo "it did not arrive whole, or sha256sum is not there" >&2; exit 73'
    return (
        f'chmod 755 "$d/{PROGRAM}"; if {_whole(runner, chr(34) + "$d" + chr(34))}; then :; '
        f"else {damaged}; fi; rm -rf {folder}; "
        f'mv "$d" {folder} && cd {folder} && say at "$PWD"'
    )


def _require_start(link: Link, agent: Agent) -> None:
    """Start it once: another C library or a 32-bit system only shows then."""
    ended = link.run(f"{shlex.join(agent.started('version'))} </dev/null >/dev/null")
    if ended.code:
        said = ended.said or f"exit code {ended.code}"
        raise MachineError(
            "E-DEVICE", f"the runner does not start on {link.address}: {said}", hint=_NEEDS
        )
