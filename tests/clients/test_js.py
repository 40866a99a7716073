"""The JavaScript SDK against a started server: over http as anybody, and over TLS signed in with an application's key."""
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import Server
from test_signin import secured  # noqa: F401 (a fixture)

SOURCES = pathlib.Path(__file__).parent / "js"


@pytest.fixture(scope="session")
def modules():
    """The SDK's packages by the lock file, in a cache outside of the clone."""
    cache = pathlib.Path(os.environ.get("TIDEWATER_JS") or pathlib.Path.home() / ".cache" / "tidewater" / "js")
    lock = (SOURCES / "package-lock.json").read_bytes()
    stamp = cache / ".installed"
    if not stamp.exists() or stamp.read_bytes() != lock:
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, cache / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=cache, check=True, timeout=600)
        stamp.write_bytes(lock)
    return cache / "node_modules"


def run(modules, directory, url, tests="sdk.test.mjs", **environment):
    """Runs an SDK's tests in a directory from where they find the packages."""
    shutil.copy(SOURCES / tests, directory / tests)
    if not (directory / "node_modules").exists():
        (directory / "node_modules").symlink_to(modules)
    answer = subprocess.run(["node", "--test", tests], cwd=directory, capture_output=True, text=True, timeout=300,
                            env={**os.environ, "TIDEWATER_URL": url, **environment})
    assert answer.returncode == 0, answer.stdout[-6000:] + answer.stderr[-3000:]
    assert "# fail 0" in answer.stdout


def test_the_javascript_sdk_works_over_http(modules, server, tmp_path):
    run(modules, tmp_path, server.url)


def test_the_javascript_sdk_signs_in_over_tls(modules, secured, tmp_path):  # noqa: F811
    # For an application's key this SDK does not look at the login endpoint that the server names.
    run(modules, tmp_path, secured.url, TIDEWATER_SECRET=secured.secrets["ci"], NODE_EXTRA_CA_CERTS=secured.ca,
        AZURE_AUTHORITY_HOST=secured.url)


def test_the_javascript_ingestion_sdk_works_over_http(modules, server, tmp_path):
    run(modules, tmp_path, server.url, "ingest.test.mjs")


def test_the_javascript_ingestion_sdk_works_over_tls(modules, request, tmp_path):
    server = Server.__new__(Server)
    server.binary, server.data, server.process, server.url = request.config.getoption("--server"), tmp_path / "data", None, None
    server.start("--set", "tls_self_signed=true")
    try:
        authority = tmp_path / "data" / "tls" / "ca.pem"
        run(modules, tmp_path, server.url, "ingest.test.mjs", NODE_EXTRA_CA_CERTS=str(authority))
    finally:
        server.stop()
