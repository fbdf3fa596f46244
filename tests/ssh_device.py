"""A device on loopback: a real ssh server, without root, whose shell runs commands here."""

import asyncio
import contextlib
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from edgepack.runtime import emulated_cpus, emulation


@dataclass
class Device:
    """One server with a home of its own; everything may be changed between commands.

    Attributes:
        folder: Holds its keys, the client's configuration, its home and its programs.
        greeting: What its login shell prints before anything else.
        silent: Whether it takes commands and never answers.
        cut_after: Bytes of output after which it drops the connection; -1 for never.
        cuts: How often it does.
        cut_when: A part of the commands that it does so to.
        commands: Those it was given.
    """

    folder: Path
    greeting: bytes = b""
    silent: bool = False
    cut_after: int = -1
    cuts: int = 1
    cut_when: str = ""
    commands: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def name(self) -> str:
        return f"ssh://pi@127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def client(self) -> str:
        """The value for EDGEPACK_SSH."""
        return f"ssh -F {self.folder / 'config'}"

    def program(self, name: str, text: str) -> None:
        """Put a program before those of this machine."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    async def serve(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        self.commands.append(process.command or "")
        process.stdout.write(self.greeting)
        if self.silent:
            await asyncio.sleep(3600)
        env = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.folder / "tmp"),
        }
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command or "", stdin=pipe, stdout=pipe, stderr=pipe,
            env=env, cwd=self.home,
        )  # fmt: skip
        tasks = [
            asyncio.create_task(self._in(process, child)),
            asyncio.create_task(self._out(process, child)),
            asyncio.create_task(_err(process, child)),
        ]
        try:
            await asyncio.gather(*tasks[1:])
            code = await child.wait()
            process.exit(code if code >= 0 else 128 - code)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            child._transport.close()  # type: ignore[attr-defined]  # asyncio has no other way

    async def _in(
        self, process: "asyncssh.SSHServerProcess[bytes]", child: asyncio.subprocess.Process
    ) -> None:
        assert child.stdin is not None
        with contextlib.suppress(ConnectionError, asyncssh.Error):
            while data := await process.stdin.read(65536):
                child.stdin.write(data)
                await child.stdin.drain()
        child.stdin.close()

    async def _out(
        self, process: "asyncssh.SSHServerProcess[bytes]", child: asyncio.subprocess.Process
    ) -> None:
        assert child.stdout is not None
        sent = 0
        while data := await child.stdout.read(65536):
            named = self.cut_when in (process.command or "")
            if named and self.cuts and 0 <= self.cut_after < sent + len(data):
                process.stdout.write(data[: max(self.cut_after - sent, 0)])
                self.cuts -= 1
                process.channel.get_connection().abort()
                assert child.stdin is not None
                child.stdin.close()
                return
            sent += len(data)
            with contextlib.suppress(ConnectionError, OSError):
                process.stdout.write(data)


async def _err(
    process: "asyncssh.SSHServerProcess[bytes]", child: asyncio.subprocess.Process
) -> None:
    assert child.stderr is not None
    while data := await child.stderr.read(65536):
        with contextlib.suppress(ConnectionError, OSError):
            process.stderr.write(data)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Device]:
    """Start a device with this Python as its ``~/.edgepack``, and end it."""
    device = Device(folder)
    for name in ("home/.edgepack/bin", "bin", "tmp"):
        (folder / name).mkdir(parents=True)
    python = device.home / ".edgepack/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key = folder / "key"
    user.write_private_key(str(key))
    key.chmod(0o600)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], encoding=None,
            process_factory=device.serve,
            authorized_client_keys=asyncssh.import_authorized_keys(
                user.export_public_key().decode()
            ),
        )  # fmt: skip

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    device.port = server.get_port()
    public = host.export_public_key().decode()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{device.port} {public}")
    (folder / "config").write_text(
        f'Host *\n IdentityFile "{key}"\n IdentitiesOnly yes\n'
        f' UserKnownHostsFile "{folder / "known_hosts"}"\n'
    )
    try:
        yield device
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _close(server: asyncssh.SSHAcceptor) -> None:
    """End the server and whatever it still does."""
    server.close()
    await server.wait_closed()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def closed_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def without_python(device: Device) -> None:
    """Take its Python away."""
    (device.home / ".edgepack/bin/python").unlink(missing_ok=True)
    device.program("python3", "exit 127")


def as_arm64(device: Device, cpu: str = "cortex-a53") -> None:
    """Turn it into an arm64 board without Python: what it starts with ``env`` is emulated.

    Its shell and tools are those of this machine; only what they say of the CPU is not.
    """
    parts = emulation.find()
    without_python(device)
    device.program("uname", 'case "$1" in -m) echo aarch64;; *) echo Linux;; esac')
    cpuinfo = shlex.quote(str(parts.sysroot(cpu) / "proc/cpuinfo"))
    device.program(
        "head",
        f'if [ "$3" = /proc/cpuinfo ]; then exec /usr/bin/head -c "$2" {cpuinfo}; fi\n'
        'exec /usr/bin/head "$@"',
    )
    qemu = shlex.join([str(parts.qemu), "-cpu", emulated_cpus.find(cpu).qemu])
    sysroot = shlex.quote(str(parts.sysroot(cpu)))
    device.program(
        "env",
        f'case "$2" in */runner) v=$1; shift; exec {qemu} -L {sysroot} '
        '-E "$v" -E LD_LIBRARY_PATH=/lib "$@";; esac\nexec /usr/bin/env "$@"',
    )
