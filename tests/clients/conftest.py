"""A real server for clients to talk to: on 127.0.0.1, a free port, an own data directory, a memory cap."""
import os
import pathlib
import re
import resource
import signal
import subprocess

import pytest

MEMORY_BYTES = 8 << 30
ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--server", required=True, help="path of the tidewater binary")


class Server:
    """A started server; `kill` ends it without warning, `start` starts it again over the same data."""

    def __init__(self, binary, data, *arguments):
        self.binary, self.data, self.process, self.url = str(binary), data, None, None
        self.start(*arguments)

    def start(self, *extra):
        cap = lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEWATER_")}
        self.process = subprocess.Popen(
            [self.binary, "serve", "--listen", "127.0.0.1:0", "--data", str(self.data), *extra],
            stdout=subprocess.PIPE, stderr=open(self.data.parent / "server.log", "ab"), text=True, preexec_fn=cap, env=environment)
        line = self.process.stdout.readline()
        found = re.search(r"listens on (https?://\S+)", line)
        if not found:
            log = (self.data.parent / "server.log").read_text()[-2000:]
            raise RuntimeError(f"the server did not start: {line}{log}")
        self.url = found.group(1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.process.stdout.close()

    def cli(self, *arguments, **options):
        return subprocess.run([self.binary, *arguments], capture_output=True, text=True, **options)

    def memory_bytes(self, key="VmRSS"):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no such process")


@pytest.fixture(scope="session")
def server(request, tmp_path_factory):
    server = Server(request.config.getoption("--server"), tmp_path_factory.mktemp("server") / "data")
    yield server
    server.stop()


@pytest.fixture
def own_server(request, tmp_path):
    """A server that a test may kill."""
    server = Server(request.config.getoption("--server"), tmp_path / "data")
    yield server
    server.stop()
