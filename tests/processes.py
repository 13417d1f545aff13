"""Runs of `fea` as processes of their own. To import what it needs takes seconds, so they are forked from a server that has."""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

TESTS = Path(__file__).parent
# Where a process finds what a test names by its class path.
TEST_PATH = os.pathsep.join(map(str, [TESTS, *sorted(TESTS.glob("[!_.]*/")), os.environ.get("PYTHONPATH", "")]))
PRELOADED = [
    "pytest", "fea.commands.fit", "fea.commands.synthesize", "fea.commands.review", "fea.commands.plan", "fea.iterate",
    "fea.callbacks", "fea.reports.page", "fea.model.fsdp", "fea.web.review", "torch.utils.tensorboard", "bitsandbytes", "peft",
]  # fmt: skip
LARGEST = 1 << 20  # bytes of a request: the words and the environment of a process


class Request(NamedTuple):
    """What the server is asked for."""

    words: list[str]
    folder: str
    environment: dict[str, str]
    file_size: int | None = None


# --- what a test has of a process ---


class Process:
    """A run that has begun, much like `subprocess.Popen`; what it writes goes into files, so that no pipe has to be read."""

    def __init__(self, request: Request, fresh: bool = False, out: Any = None, err: Any = None):
        self.returncode: int | None = None
        self._out = out or tempfile.TemporaryFile()  # noqa: SIM115
        self._err = err or tempfile.TemporaryFile()  # noqa: SIM115
        self._popen: subprocess.Popen[bytes] | None = None
        if fresh:
            words = [sys.executable, "-m", "fea", *request.words]
            self._popen = subprocess.Popen(words, env=request.environment, stdout=self._out, stderr=self._err)
            self.pid = self._popen.pid
        else:
            self.pid, self._ended = Server.running().fork(request, self._out.fileno(), self._err.fileno())

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None as long as it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end, for some seconds at most."""
        if self.returncode is None:
            self.returncode = self._popen.wait(timeout) if self._popen else self._told(timeout)
        return self.returncode

    def _told(self, timeout: float | None) -> int:
        if not select.select([self._ended], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("fea", timeout or 0)
        told = self._ended.read()
        assert told, "the server has died"
        return int(told)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def said(self) -> tuple[str, str]:
        """What it has written to standard output and to standard error so far."""
        return tuple(_content(file.fileno()) for file in (self._out, self._err))  # type: ignore[return-value]

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The same after its end."""
        self.wait(timeout)
        return self.said()

    def until(self, words: str, timeout: float = 120) -> bool:
        """Waits until it has written these words, or has ended without."""
        deadline = time.monotonic() + timeout
        while words not in self.said()[0] and self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return words in self.said()[0]


def _content(handle: int) -> str:
    """All of a file whose position belongs to the process that writes it."""
    return os.pread(handle, os.fstat(handle).st_size, 0).decode()


def start(words: list[str], *, file_size: int | None = None, fresh: bool = False, **environment: str) -> Process:
    """Begins `fea` with these words.

    Args:
        words: the command and its options.
        file_size: bytes beyond which no file may grow, for a forked process.
        fresh: a new interpreter, as a user starts it; a forked process otherwise.
        environment: variables beside those of this process.
    """
    own = {**os.environ, "PYTHONPATH": TEST_PATH, **environment}
    return Process(Request(words, os.getcwd(), own, file_size), fresh)


def run(words: list[str], timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    return ended(start(words, **options), timeout)


def ended(process: Process, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Waits for the end of a process, which does not outlive the wait."""
    try:
        out, err = process.communicate(timeout)
    finally:
        process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess("fea", process.returncode, out, err)


def start_together(words: list[str], count: int, **options: Any) -> list[Process]:
    """Begins the processes of one training, as `torchrun` does; by itself the trainer would start all but the first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    return [start(words, LOCAL_RANK=str(rank), **shared, **options) for rank in range(count)]


def fork_fits() -> Any:
    """What stands for `fea.system.children` in `fea.training.fits`, so that the fits of a loop are forked, too."""

    def start(words: list[str]) -> Process:
        own = {**os.environ, "PYTHONPATH": TEST_PATH}
        return Process(Request(words, os.getcwd(), own), out=sys.__stdout__, err=sys.__stderr__)

    return SimpleNamespace(start=start)


# --- the server ---


class Server:
    """The process that all others are forked from; it ends, and they with it, when this process does."""

    _running: Server | None = None

    @classmethod
    def running(cls) -> Server:
        """The server of this process, started when it is first needed."""
        if cls._running is None:
            cls._running = cls()
        return cls._running

    def __init__(self, control: socket.socket | None = None):
        if control:
            self.control = control
            return
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Threads do not survive a fork: none for torch, none for the memory of pyarrow.
        alone = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": TEST_PATH, **alone},
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()

    def fork(self, request: Request, out: int, err: int) -> tuple[int, Any]:
        """Begins a process; returns its number and a file that will hold its exit code."""
        ended, end = os.pipe()
        socket.send_fds(self.control, [json.dumps(request).encode()], [out, err, end])
        os.close(end)
        pid = self.control.recv(100)
        assert pid, "the server of the processes has died"
        return int(pid), os.fdopen(ended)


def serve(control: socket.socket) -> tuple[Request, list[int]]:
    """Forks a process for each request. Returns in these processes alone, with the request and the two files to write to."""
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in what is forked"
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    ends: dict[int, int] = {}
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(ends)
        if control not in ready:
            continue
        message, files, _, _ = socket.recv_fds(control, LARGEST, 3)
        if not message:
            for pid in ends:
                os.kill(pid, signal.SIGKILL)
            raise SystemExit
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for handle in (control.detach(), woken, wake, files.pop(), *ends.values()):
                os.close(handle)
            return Request(*json.loads(message)), files
        ends[pid] = files.pop()
        for handle in files:
            os.close(handle)
        control.send(str(pid).encode())


def _reap(ends: dict[int, int]) -> None:
    """Tells the exit codes of all that have ended."""
    for pid in list(ends):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            handle = ends.pop(pid)
            os.write(handle, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(handle)


def become(request: Request, files: list[int]) -> None:
    """Makes this process what a new interpreter would be: its files, folder, environment, signals and threads."""
    import datasets
    import torch
    from lightning.fabric.utilities import rank_zero

    from fea.training import fits

    for number, handle in enumerate(files, 1):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.folder
    sys.argv = ["fea", *request.words]
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request.file_size, request.file_size))
    # What these read from the environment when they were imported.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    rank_zero.rank_zero_only.rank = rank_zero._get_rank() or 0
    if "HF_DATASETS_CACHE" in os.environ:
        datasets.config.HF_DATASETS_CACHE = Path(os.environ["HF_DATASETS_CACHE"])
    if request.words[0] == "iterate":
        own, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            own.close()
            return become(*serve(control))
        control.close()
        Server._running, fits.children = Server(own), fork_fits()
    return None


if __name__ == "__main__":
    for name in PRELOADED:
        import_module(name)
    gc.collect()
    gc.freeze()  # nobody looks at these objects again, so their memory stays shared
    become(*serve(socket.socket(fileno=int(sys.argv[1]))))
    runpy.run_module("fea", run_name="__main__", alter_sys=True)
