"""A folder on the device: what is put there, what runs in it, what comes back."""

import contextlib
import io
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgepack.base import units
from edgepack.base.errors import EdgepackError, MachineError, ModelError
from edgepack.runtime.remote.link import Ended, Link, Said

_PREFIX = "edgepack-ssh."
_AGENT = Path(__file__).with_name("agent.py")
_BAD_MODEL = 3  # exit code of agent.py
_KILLED = 128


class Stage:
    """A folder of ours on a device; see ``staged``."""

    def __init__(self, link: Link, python: str, folder: str) -> None:
        self._link = link
        self._python = python
        self._folder = folder

    def agent(
        self,
        arguments: Sequence[str],
        hear: Callable[[Said], None],
        silence: float,
        fetch: str = "",
    ) -> bytes:
        """Run the agent in the folder; it ends at once where the connection does.

        Args:
            arguments: Of ``agent.py``.
            hear: Called with each line it says.
            silence: Seconds without a line after which it counts as hung.
            fetch: A file to bring back.

        Raises:
            ModelError: The runtime refuses the model or a sample, or crashes.
            MachineError: The device broke, hangs, or was lost.
        """
        fetched = b""

        def listen(line: Said) -> None:
            nonlocal fetched
            if line.after("bytes") is not None:
                fetched = line.block
            else:
                hear(line)

        command = shlex.join([self._python, "agent.py", *arguments])
        script = [
            f"exec 3<&0; cd {shlex.quote(self._folder)} || exit 71; export ORT_DISABLE_TELEMETRY=1",
            f"{command} </dev/null & p=$!",
            # The device's end of stdin closes when the connection does.
            "{ cat <&3; kill -9 $p; } >/dev/null 2>&1 & w=$!; wait $p; c=$?; kill $w 2>/dev/null",
        ]
        if fetch:
            script.append(
                f"if [ $c = 0 ]; then say bytes $(wc -c <{fetch}) {fetch}; cat {fetch}; fi"
            )
        ended = self._link.run(
            "; ".join([*script, "exit $c"]).replace("&;", "&"), listen, silence=silence
        )
        if ended.code:
            raise self._failure(ended)
        return fetched

    def remove(self) -> None:
        """Remove the folder; a device that is gone keeps it for a day."""
        with contextlib.suppress(MachineError):
            self._link.run(f"rm -rf {shlex.quote(self._folder)}")

    def _failure(self, ended: Ended) -> EdgepackError:
        where, said = self._link.address, ended.said.removeprefix("agent: ")
        if ended.code == _BAD_MODEL:
            return ModelError("E-MODEL-RUN", f"the runtime on {where} refuses: {said}")
        if ended.code > _KILLED:
            return ModelError(
                "E-CRASH",
                f"the process on {where} was stopped by signal {ended.code - _KILLED}",
                hint="9 may be its memory; 4 a CPU that its runtime was not built for",
            )
        return MachineError("E-DEVICE", f"{where} failed: {said or f'exit code {ended.code}'}")


@contextmanager
def staged(link: Link, python: str, files: Mapping[str, bytes]) -> Iterator[Stage]:
    """Put files and the agent into a fresh folder of the device, which goes when this ends.

    Raises:
        MachineError: There is no room for them, or no folder to write to.
    """
    content = {"agent.py": _AGENT.read_bytes(), **files}
    need = sum(map(len, content.values()))
    heard: dict[str, str] = {}

    def hear(line: Said) -> None:
        kind, _, rest = line.words.partition(" ")
        heard[kind] = rest

    ended = link.run(_unpack(need), hear, lambda pipe: _pack(content, pipe), silence=600)
    if ended.code:
        free = heard.get("room")
        room = f", {units.size(int(free) * 1024)} are free" if free and free.isdigit() else ""
        raise MachineError(
            "E-DISK",
            f"{link.address} takes no {units.size(need)} into {heard.get('folder') or 'a folder'}: "
            f"{ended.said or 'it is full'}{room}",
            hint="free space there, or let TMPDIR there name another folder",
        )
    stage = Stage(link, python, heard["folder"])
    try:
        yield stage
    finally:
        stage.remove()


def _unpack(need: int) -> str:
    """Return the script that unpacks stdin; folders that a lost connection left go after a day."""
    return "; ".join(
        [
            't="${TMPDIR:-/tmp}"',
            f'set -- "$t" -maxdepth 1 -name "{_PREFIX}*" -user "$(id -un)" -mtime +1',
            'find "$@" -exec rm -rf {} + 2>/dev/null',
            f'd="$(mktemp -d "$t/{_PREFIX}XXXXXX")" || exit 73',
            'say folder "$d"',
            'r="$(df -Pk "$d" 2>/dev/null | tail -n 1 | { read -r _ _ _ a _; echo "$a"; })"',
            f'if [ "${{r:-{need}}}" -lt {need // 1024} ]; then say room "$r"; rm -rf "$d"',
            "cat >/dev/null; exit 73; fi",
            'tar xf - -C "$d" || { rm -rf "$d"; exit 73; }',
        ]
    )


def _pack(files: Mapping[str, bytes], pipe: IO[bytes]) -> None:
    with tarfile.open(fileobj=pipe, mode="w|") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
