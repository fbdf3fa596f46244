"""One command on the device at a time, over the system's ssh.

What the device prints is told from what its login prints (banners, greetings, a chatty runtime) by
a mark that is drawn anew for every command and stands before each line of ours. When ssh ends,
however it ends, the device's end of stdin closes, and with it whatever we had started there.
"""

import contextlib
import os
import queue
import secrets
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from edgepack.base import units
from edgepack.base.errors import MachineError, RequestError
from edgepack.runtime.remote import refusals
from edgepack.runtime.remote.address import Address
from edgepack.runtime.remote.refusals import LostError

_CONNECT = 20  # seconds for TCP and the key exchange, jump hosts included
_GREETING = 40.0  # seconds until the shell there says its first word
_OPTIONS = (
    "-T",
    "-oBatchMode=yes",  # a question would wait for ever
    f"-oConnectTimeout={_CONNECT}",
    "-oServerAliveInterval=5",  # so that a silent loss shows after 15 s
    "-oServerAliveCountMax=3",
    "-oLogLevel=ERROR",  # else the banner would be taken for an error
    "-oClearAllForwardings=yes",  # of the user's own session, and taken by it
)

Feed = Callable[[IO[bytes]], None]
"""Writes what a command reads on stdin."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line of ours.

    Attributes:
        words: After the mark.
        block: The bytes after a line ``bytes N``.
    """

    words: str
    block: bytes = b""

    def after(self, word: str) -> str | None:
        """Return what follows ``word``, None where the line begins otherwise."""
        head, _, rest = self.words.partition(" ")
        return rest if head == word else None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, and its last line on stderr."""

    code: int
    said: str


class Link:
    """Runs commands at an address.

    Attributes:
        address: It.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client = client()

    def run(
        self,
        script: str,
        hear: Callable[[Said], None] = lambda _: None,
        feed: Feed | None = None,
        silence: float = 60.0,
    ) -> Ended:
        """Run a shell script there, on one line and without ``!``, which some shells would read.

        Args:
            script: May use ``say WORDS`` for lines of ours, and ``$M``, the mark.
            hear: Called with each line of ours.
            feed: Writes stdin, which is then closed; without it stdin stays open until the end.
            silence: Seconds without a line of ours after which it counts as hung.

        Raises:
            MachineError: The device cannot be reached, or hangs.
            LostError: The connection was lost meanwhile.
        """
        mark = f"edgepack-{secrets.token_hex(8)}"
        command = [*self._client, *_OPTIONS, *self.address.arguments, wrapped(script, mark)]
        with tempfile.TemporaryFile() as errors:
            with _child(command, errors) as child:
                talk = _Talk(child, mark.encode(), feed)
                code = self._listen(talk, hear, silence)
                status = child.wait() if code is None else 0
            said = _tail(errors)
        if code is not None:
            return Ended(code, said)
        if not talk.began:
            raise refusals.refused(self.address, status, said)
        raise LostError("E-LOST", f"{self.address}: the connection was lost", hint="try again")

    def _listen(self, talk: "_Talk", hear: Callable[[Said], None], silence: float) -> int | None:
        """Pass lines on until the last one; return the exit code, None where there is no last."""
        while True:
            limit = silence if talk.began else _GREETING
            try:
                said = talk.next(limit)
            except queue.Empty:
                doing = "has said nothing" if talk.began else "does not answer: nothing"
                raise MachineError(
                    "E-HANGS",
                    f"{self.address} {doing} for {units.duration(limit)}",
                    hint=f"look at it: ssh {self.address.typed}",
                ) from None
            if said is None:
                return None
            if (code := said.after("end")) is not None:
                return int(code)
            hear(said)


def client() -> list[str]:
    """Return ``EDGEPACK_SSH``, else ``ssh``: the command and options of the user's choice.

    Raises:
        RequestError: It cannot be split into words.
    """
    chosen = os.environ.get("EDGEPACK_SSH", "")
    try:
        return shlex.split(chosen) or ["ssh"]
    except ValueError as error:
        raise RequestError(
            "E-SSH", f"EDGEPACK_SSH is {chosen!r}: {error}", hint="EDGEPACK_SSH='ssh -F my_config'"
        ) from error


def wrapped(script: str, mark: str) -> str:
    """Return the command for the login shell, whichever that is: one word in single quotes.

    A lost connection must not end the script before it has tidied up, hence the trap.
    """
    assert "\n" not in script, "csh has no newline in quotes"
    prelude = f'M={mark}; export M; say() {{ printf "\\n%s %s\\n" "$M" "$*"; }}; trap "" PIPE HUP'
    return f"exec sh -c {shlex.quote(f'{prelude}; say begin; ({script}); say end $?')}"


class _Talk:
    """The lines of a child, read by a thread so that waiting for them can end."""

    def __init__(self, child: subprocess.Popen[bytes], mark: bytes, feed: Feed | None) -> None:
        assert child.stdout is not None
        assert child.stdin is not None
        self.began = False
        self._out, self._mark = child.stdout, mark
        self._lines: queue.SimpleQueue[Said | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        if feed is not None:
            threading.Thread(target=_write, args=(child.stdin, feed), daemon=True).start()

    def next(self, limit: float) -> Said | None:
        """Return the next line of ours, None at the end.

        Raises:
            queue.Empty: None came within ``limit`` seconds.
        """
        said = self._lines.get(timeout=limit)
        if said is not None and said.words == "begin":
            self.began = True
            return self.next(limit)
        return said

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the other thread closed the pipe
            for line in self._out:
                # The last line of a lost connection may be cut, and half a number is a number.
                if line.startswith(self._mark + b" ") and line.endswith(b"\n"):
                    words = line[len(self._mark) + 1 :].decode(errors="replace").strip()
                    self._lines.put(Said(words, self._block(words)))
        self._lines.put(None)

    def _block(self, words: str) -> bytes:
        """Read what follows ``bytes N``.

        Raises:
            OSError: It does not come whole.
        """
        kind, _, rest = words.partition(" ")
        if kind != "bytes":
            return b""
        size = int(rest.split()[0])
        block = self._out.read(size)
        if len(block) < size:
            raise OSError(f"{len(block)} of {size} bytes came")
        return block


def _write(pipe: IO[bytes], feed: Feed) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads on; the end will say why
        feed(pipe)
        pipe.close()


@contextlib.contextmanager
def _child(command: list[str], errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start ssh, in a group of its own so that Ctrl-C is ours to handle, and end it."""
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True
        )
    except OSError as error:
        raise refusals.no_client(command[0], error) from error
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for end in (child.stdin, child.stdout):
            with contextlib.suppress(OSError, ValueError):
                if end is not None:
                    end.close()


def _tail(errors: IO[bytes]) -> str:
    """Return the last line on stderr."""
    errors.seek(max(errors.seek(0, os.SEEK_END) - 4000, 0))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
