"""Rows of jobs in an object store, where the setting `job_results_url` says so."""
import json
import time
import uuid

import pytest
import requests
from conftest import Server
from test_queries_api import Api
from test_query_results import fetch
from test_stores import AWS, s3  # noqa: F401 (a fixture)

FORMS = ("json", "ndjson", "csv", "arrow", "parquet")


def keys(s3):  # noqa: F811
    text = requests.get(f"{s3}/logs?list-type=2&prefix=rows/", timeout=30).text
    return [part.split("</Key>")[0] for part in text.split("<Key>")[1:]]


@pytest.fixture
def away(request, tmp_path, s3):  # noqa: F811
    server = Server.__new__(Server)
    server.binary, server.data, server.process, server.url = request.config.getoption("--server"), tmp_path / "data", None, None
    server.settings = ("--set", f"storage_endpoints=s3={s3}", "--set", f"job_results_url=s3://logs/rows;{AWS}")
    server.start(*server.settings)
    yield server
    server.stop()


def test_rows_are_in_the_store_and_read_from_there_in_every_form(away, s3):  # noqa: F811
    api = Api(away.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    done = api.run("SELECT value AS n, concat('row ', value) AS s FROM generate_series(1, 100000) ORDER BY n")
    assert (done["state"], done["rowCount"]) == ("SUCCESS", 100000)
    name, = [key for key in keys(s3) if done["id"] in key]
    assert name.startswith("rows/") and name.endswith(".parquet")
    kept = away.data / "results"
    assert list(kept.iterdir()) == []
    href = done["_links"]["results"]["href"]
    sizes = {form: len(fetch(api, f"{href}?format={form}")[2]) for form in FORMS}
    assert all(size > 1000 for size in sizes.values()) and list(kept.iterdir()) == []
    window = json.loads(fetch(api, f"{href}?offset=99998&limit=5")[2])
    assert [row["n"] for row in window["rows"]] == [99999, 100000]
    assert fetch(api, f"{href}?format=parquet")[2][:4] == b"PAR1"
    # They are there for another life of the server too.
    away.kill()
    away.start(*away.settings)
    api = Api(away.url, **{"x-gw-ims-org-id": api.headers["x-gw-ims-org-id"]})
    path = href[href.index("/data/"):]
    assert json.loads(fetch(api, f"{path}?limit=1")[2])["rows"] == [{"n": 1, "s": "row 1"}]


def test_expired_rows_leave_the_store(away, s3):  # noqa: F811
    away.stop()
    away.start(*away.settings, "--set", "job_result_seconds=2")
    api = Api(away.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    done = api.run("SELECT 1 AS x")
    assert any(done["id"] in key for key in keys(s3))
    until = time.monotonic() + 60
    while any(done["id"] in key for key in keys(s3)):
        assert time.monotonic() < until
        time.sleep(0.5)
    assert fetch(api, f"{away.url}/data/foundation/query/queries/{done['id']}/results")[0] == 410


def test_a_store_that_takes_nothing_fails_the_query_and_a_wrong_setting_the_start(away):
    away.stop()
    away.start("--set", "storage_endpoints=s3=http://127.0.0.1:9", "--set", f"job_results_url=s3://logs/rows;{AWS}")
    api = Api(away.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    done = api.finish(api.submit("SELECT 1 AS x")["id"])
    assert done["state"] == "FAILED" and done["errors"][0]["code"] == "58000" and "results" not in done["_links"]
    assert list((away.data / "results").iterdir()) == []
    away.stop()
    with pytest.raises(RuntimeError, match="job_results_url"):
        away.start("--set", "job_results_url=https://example.org/x.csv")


def test_the_secret_is_not_shown(away):
    shown = away.cli("config", "show", *away.settings).stdout
    assert "job_results_url" in shown and "s3://logs/rows" in shown and "verysecretkey" not in shown
