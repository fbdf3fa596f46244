"""A folder on the device: what is put there, what runs in it, what comes back."""

import contextlib
import io
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgepack.base import units
from edgepack.base.errors import EdgepackError, MachineError, ModelError
from edgepack.runtime.remote.link import Ended, Link, Said

_AGENT = Path(__file__).with_name("agent.py")
_BAD_MODEL = 3  # exit code of agent.py and of native/runner.c
_KILLED = 128


@dataclass(frozen=True, slots=True)
class Agent:
    """What runs models on a device.

    Attributes:
        program: Its first words; found from inside a stage.
        files: Name -> content of what has to be in the stage for it.
    """

    program: tuple[str, ...]
    files: Mapping[str, bytes]

    def started(self, *arguments: str) -> list[str]:
        """Return the words that start it."""
        return ["env", "ORT_DISABLE_TELEMETRY=1", *self.program, *arguments]


def python_agent(python: str) -> Agent:
    """Return ``agent.py`` under a Python of the device."""
    return Agent((python, _AGENT.name), {_AGENT.name: _AGENT.read_bytes()})


@dataclass(frozen=True, slots=True)
class Corner:
    """Where a folder of ours is made on a device.

    Attributes:
        parent: The folder around it, as a word of a shell script.
        prefix: Of its name, and of those before it.
        days: After which one that nobody touched goes.
        then: A script that follows when the files have come, into ``$d``.
    """

    parent: str
    prefix: str
    days: int
    then: str = ":"


_STAGES = Corner('"${TMPDIR:-/tmp}"', "edgepack-ssh.", 1)


class Stage:
    """A folder of ours on a device; see ``staged``."""

    def __init__(self, link: Link, agent: Agent, folder: str) -> None:
        self._link = link
        self._agent = agent
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
            arguments: Of ``agent.py`` or ``native/runner.c``.
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

        command = shlex.join(self._agent.started(*arguments))
        script = [
            f"exec 3<&0; cd {shlex.quote(self._folder)} || exit 71",
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
        where, said = (
            self._link.address,
            ended.said.removeprefix("agent: ").removeprefix("runner: "),
        )
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
def staged(link: Link, agent: Agent, files: Mapping[str, bytes]) -> Iterator[Stage]:
    """Put files and the agent into a fresh folder of the device, which goes when this ends.

    Raises:
        MachineError: There is no room for them, or no folder to write to.
    """
    stage = Stage(link, agent, put(link, {**agent.files, **files}, _STAGES))
    try:
        yield stage
    finally:
        stage.remove()


def put(
    link: Link,
    files: Mapping[str, bytes],
    corner: Corner,
    hear: Callable[[Said], None] = lambda _: None,
) -> str:
    """Put files into a fresh folder of the device, and return it.

    Args:
        link: The way there.
        files: Name -> content.
        corner: Where.
        hear: Called with each line of ours.

    Raises:
        MachineError: There is no room for them, or no folder to write to.
    """
    need = sum(map(len, files.values()))
    heard: dict[str, str] = {}

    def listen(line: Said) -> None:
        kind, _, rest = line.words.partition(" ")
        heard[kind] = rest
        hear(line)

    script = _unpack(need, corner)
    ended = link.run(script, listen, lambda pipe: _pack(files, pipe), silence=600)
    if ended.code:
        free = heard.get("room")
        room = f", {units.size(int(free) * 1024)} are free" if free and free.isdigit() else ""
        raise MachineError(
            "E-DISK",
            f"{link.address} takes no {units.size(need)} into {heard.get('folder') or 'a folder'}: "
            f"{ended.said or 'it is full'}{room}",
            hint="free space there, or let TMPDIR and XDG_CACHE_HOME there name other folders",
        )
    return heard["folder"]


def _unpack(need: int, corner: Corner) -> str:
    """Return the script that unpacks stdin; folders that nobody needs any more go first."""
    return "; ".join(
        [
            f't={corner.parent}; mkdir -p "$t"',
            f'set -- "$t" -maxdepth 1 -name "{corner.prefix}*" -user "$(id -un)"',
            f'find "$@" -mtime +{corner.days} -exec rm -rf {{}} + 2>/dev/null',
            f'd="$(mktemp -d "$t/{corner.prefix}XXXXXX")" || exit 73',
            'say folder "$d"',
            'r="$(df -Pk "$d" 2>/dev/null | tail -n 1 | { read -r _ _ _ a _; echo "$a"; })"',
            f'if [ "${{r:-{need}}}" -lt {need // 1024} ]; then say room "$r"; rm -rf "$d"',
            "cat >/dev/null; exit 73; fi",
            'tar xf - -C "$d" || { rm -rf "$d"; exit 73; }',
            corner.then,
        ]
    )


def _pack(files: Mapping[str, bytes], pipe: IO[bytes]) -> None:
    with tarfile.open(fileobj=pipe, mode="w|") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
