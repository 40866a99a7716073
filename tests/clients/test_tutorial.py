"""docs/tutorial.md and the README: every query gives the answer printed below it."""
import re

import pytest

from conftest import ROOT, Server


@pytest.fixture(scope="module")
def samples(request, tmp_path_factory):
    server = Server.__new__(Server)
    server.binary, server.data = request.config.getoption("--server"), tmp_path_factory.mktemp("samples") / "data"
    server.start("--samples", str(ROOT / "samples"))
    yield server
    server.stop()


def examples(name):
    """Pairs of a ```kusto block and the ```text block after it."""
    text = (ROOT / name).read_text()
    return re.findall(r"```kusto\n(.*?)```\s*```text\n(.*?)```", text, re.S)


@pytest.mark.parametrize("name, least", [("docs/tutorial.md", 10), ("README.md", 1)])
def test_every_printed_answer_is_right(samples, name, least):
    pairs = examples(name)
    assert len(pairs) >= least
    for query, answer in pairs:
        done = samples.cli("query", query, "--db", "Samples", "--url", samples.url, "--format", "csv")
        assert done.returncode == 0, query + done.stderr
        assert done.stdout.strip() == answer.strip(), query
