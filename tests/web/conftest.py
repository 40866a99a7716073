"""A real server with the sample data and Chromium before it. No mocks, no sleeps: everything waits for what it expects.

Every page is watched: a script's error, a request to another host, a breach of the content security policy or a dialog
of the browser fails the test.
"""
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess

import pytest
import requests
from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
_clients = importlib.util.spec_from_file_location("clients_conftest", ROOT / "tests" / "clients" / "conftest.py")
clients = importlib.util.module_from_spec(_clients)
_clients.loader.exec_module(clients)

expect.set_options(timeout=20_000)
ENDED = re.compile(r"^(Done|Partly done|Failed|Cancelled)")


def pytest_addoption(parser):
    parser.addoption("--server", required=True, help="path of the tidewater binary")
    parser.addoption("--page", help="directory of the page's built files, instead of those inside the binary")
    parser.addoption("--update-pictures", action="store_true", help="write the charts' pictures and the screenshots of docs/")


class Server(clients.Server):
    def command(self, text, database="NetDefaultDB"):
        answer = requests.post(f"{self.url}/v1/rest/mgmt", json={"db": database, "csl": text})
        assert answer.status_code == 200, answer.text
        return answer.json()["Tables"][0]["Rows"]


def page_dir(request):
    place = request.config.getoption("--page")
    return ["--set", f"page_dir={place}"] if place else []


@pytest.fixture(scope="session")
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("server")
    arguments = ["--samples", str(ROOT / "samples"), *page_dir(request)]
    server = Server(request.config.getoption("--server"), directory / "data", *arguments)
    page = requests.get(f"{server.url}/ui/").text
    assert "make web" not in page, "this server was built without its page"
    yield server
    server.stop()


class Client(requests.Session):
    def __init__(self, server, secret):
        super().__init__()
        self.server = server
        self.headers["authorization"] = f"Bearer {secret}"

    def ask(self, method, path, **options):
        return self.request(method, f"{self.server.url}{path}", **options)

    def command(self, text):
        answer = self.ask("POST", "/v1/rest/mgmt", json={"db": "NetDefaultDB", "csl": text})
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="session")
def people(request, tmp_path_factory):
    """A server with an administrator, a user, another user, a viewer of one database, and a stranger."""
    directory = tmp_path_factory.mktemp("people")
    binary = request.config.getoption("--server")
    accounts = directory / "accounts.toml"
    secrets = {}
    for name in ["admin", "uma", "uwe", "vic", "sam"]:
        made = subprocess.run([binary, "account", "add", name, "--kind", "user", *(["--role", "admin"] if name == "admin" else []), "--file", str(accounts)],
                              capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        secrets[name] = made.stdout.strip()
    settings = ["sign_in=required", f"accounts_file={accounts}", "local_issuer=true"]
    arguments = [*[part for setting in settings for part in ("--set", setting)], *page_dir(request)]
    server = Server(binary, directory / "data", *arguments)
    found = {name: Client(server, secret) for name, secret in secrets.items()}
    found["admin"].command(".add database NetDefaultDB users ('aaduser=uma', 'aaduser=uwe')")
    found["admin"].command(".add database NetDefaultDB viewers ('aaduser=vic')")
    found["restart"] = lambda: (server.stop(), server.start(*arguments))
    yield found
    server.stop()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        assert path, "no chromium: tests/web/chromium.sh installs it"
        # Without a sandbox, since tests also run as root in containers.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--font-render-hinting=none"])
        yield browser
        browser.close()


class Tidewater:
    """The page, with the words that tests use."""

    def __init__(self, context, url):
        self.context, self.url, self.page, self.troubles = context, url, context.new_page(), []
        #: Whether tests share this page, one after the other.
        self.resident = False
        page = self.page
        page.on("pageerror", self._error)
        page.on("dialog", lambda dialog: (self.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", self._console)
        page.on("request", lambda request: self._request(request.url))

    def _error(self, error):
        # The language service loses a question about a text that has just been replaced; nothing comes of it.
        if "reading 'Service'" not in str(error):
            self.troubles.append(f"error: {error}")

    def _console(self, message):
        # Answers with a status of their own are told as errors; tests of refusals expect them.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _request(self, url):
        if not url.startswith((self.url, "data:", "blob:")):
            self.troubles.append(f"request to another host: {url}")

    def open(self, path="/", ready=True):
        if self.resident and self._settled(path):
            return self
        self.page.goto(self.url + path)
        if ready:
            expect(self.page.locator(".editor .view-lines")).to_be_visible()
            expect(self.page.locator(".editor[aria-busy]")).to_have_count(0)
        return self

    def _settled(self, path):
        """A tab of its own on the page that is there already, where that is as good as loading it again."""
        page = self.page
        if "?" in path or not page.url.startswith(f"{self.url}/ui/"):
            return False
        page.keyboard.press("Escape")
        tabs = page.get_by_role("tablist", name="Queries").get_by_role("tab")
        choice = page.get_by_role("combobox", name="Database")
        wanted = path.removeprefix("/") or "NetDefaultDB"
        if tabs.count() > 8 or choice.locator(f"option[value='{wanted}']").count() == 0:
            return False
        page.keyboard.press("Alt+n")
        choice.select_option(wanted)
        expect(page.locator(".results .empty")).to_be_visible()
        return True

    def write(self, text, database=None):
        if database:
            self.page.get_by_role("combobox", name="Database").select_option(database)
        self.page.locator(".editor .view-lines").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.insert_text(text)
        return self

    def run(self, text, database=None, ended=True):
        self.write(text, database)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Shift+Enter")
        if ended:
            self.ended()
        return self

    def ended(self):
        expect(self.page.locator(".results .status")).to_have_text(ENDED)
        expect(self.page.locator(".results.running")).to_have_count(0)

    @property
    def status(self):
        return self.page.locator(".results .status").inner_text()

    def tab(self, name):
        self.page.get_by_role("tablist", name="Results").get_by_role("tab", name=name, exact=True).click()
        return self

    def rows(self):
        """The rows in sight, as lists of texts."""
        expect(self.page.locator(".grid-cell").first).to_be_visible()
        return self.page.evaluate("""() => [...document.querySelectorAll('.grid-row:not([hidden])')]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
            .map(row => [...row.querySelectorAll('.grid-cell')].sort((a, b) => a.ariaColIndex - b.ariaColIndex).map(cell => cell.textContent))""")

    def clipboard(self):
        return self.page.evaluate("() => navigator.clipboard.readText()")

    def fault(self):
        return self.page.locator(".banner .fault")


def _context(chromium, **options):
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True, **options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context


@pytest.fixture(scope="session")
def shared(server, chromium):
    """A browser that has been here before: its cache is warm, which saves each test a second."""
    context = _context(chromium)
    yield context
    context.close()


@pytest.fixture
def tidewater(server, shared):
    """A page of its own, which finds nothing of the pages before it but the cache."""
    watched = Tidewater(shared, server.url)
    watched.page.goto(f"{server.url}/healthz")
    watched.page.evaluate("() => localStorage.clear()")
    yield watched
    watched.page.close()
    assert watched.troubles == []


@pytest.fixture
def visit(chromium):
    """Pages with options of their own: `visit(url, **options)`."""
    opened = []

    def make(url, **options):
        watched = Tidewater(_context(chromium, **options), url)
        opened.append(watched)
        return watched

    yield make
    for watched in opened:
        watched.context.close()
    assert [trouble for watched in opened for trouble in watched.troubles] == []


def packed(text):
    """Azure's encoding of a query in a link."""
    import base64
    import gzip
    import urllib.parse

    return urllib.parse.quote(base64.b64encode(gzip.compress(text.encode())).decode(), safe="")


__all__ = ["Server", "Tidewater", "json", "packed"]
