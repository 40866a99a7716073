"""Rows of SQL jobs, templates, waits and idempotent submission over HTTP."""
import csv
import gzip
import io
import json
import time
import urllib.error
import urllib.request
import uuid

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from test_queries_api import BASE, Api

SQL = "SELECT x, x * 10000000000 AS big, CAST(x AS DECIMAL(10, 2)) AS d, 'a' || x AS s, CASE WHEN x = 2 THEN NULL ELSE x / 2.0 END AS r, TIMESTAMP '2020-01-02 03:04:05' AS t FROM generate_series(1, 5) g(x) ORDER BY x"


def fetch(api, path, **headers):
    """Status, headers and bytes of a GET."""
    url = path if path.startswith("http") else api.url + path
    request = urllib.request.Request(url, headers={**api.headers, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture
def api(server):
    return Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})


@pytest.fixture
def results(api):
    done = api.run(SQL)
    assert done["state"] == "SUCCESS", done
    link = done["_links"]["results"]
    assert link["method"] == "GET" and link["href"].endswith(f"/queries/{done['id']}/results")
    return link["href"]


def test_rows_come_as_json_with_a_schema(api, results):
    status, headers, body = fetch(api, results)
    assert status == 200 and headers["Content-Type"] == "application/json"
    answer = json.loads(body)
    assert list(answer) == ["schema", "rows", "rowCount", "offset", "count"]
    assert answer["schema"] == [{"name": "x", "type": "bigint"}, {"name": "big", "type": "bigint"}, {"name": "d", "type": "decimal(10,2)"},
                                {"name": "s", "type": "string"}, {"name": "r", "type": "double"}, {"name": "t", "type": "timestamp"}]
    assert answer["rowCount"] == 5 and answer["count"] == 5
    assert answer["rows"][1] == {"x": 2, "big": 20000000000, "d": 2.0, "s": "a2", "r": None, "t": "2020-01-02T03:04:05Z"}
    text = json.loads(fetch(api, results + "?numbers=string")[2])
    assert text["rows"][1]["big"] == "20000000000" and text["rows"][1]["d"] == "2.00" and text["schema"][1]["encoding"] == "string"


def test_windows_link_to_the_next(api, results):
    seen, path = [], results + "?limit=2"
    while path:
        status, headers, body = fetch(api, path)
        answer = json.loads(body)
        assert status == 200 and answer["rowCount"] == 5
        seen.append([row["x"] for row in answer["rows"]])
        path = answer.get("next")
        assert ("Link" in headers) == (path is not None)
    assert seen == [[1, 2], [3, 4], [5]]
    assert json.loads(fetch(api, results + "?offset=99")[2])["rows"] == []
    lines = fetch(api, results + "?format=ndjson&offset=3")[2].splitlines()
    assert [json.loads(line)["x"] for line in lines] == [4, 5]


def test_every_format_holds_the_same_rows(api, results):
    wanted = [1, 2, 3, 4, 5]
    status, headers, body = fetch(api, results, Accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert headers["Content-Type"].startswith("text/csv") and [int(row["x"]) for row in rows] == wanted
    assert rows[1]["r"] == "" and rows[0]["t"] == "2020-01-02T03:04:05Z"
    stream = fetch(api, results, Accept="application/vnd.apache.arrow.stream")[2]
    assert pyarrow.ipc.open_stream(stream).read_all()["x"].to_pylist() == wanted
    file = fetch(api, results + "?format=arrow-file")[2]
    assert pyarrow.ipc.open_file(pyarrow.py_buffer(file)).read_all()["x"].to_pylist() == wanted
    status, headers, whole = fetch(api, results + "?format=parquet")
    table = pyarrow.parquet.read_table(pyarrow.py_buffer(whole))
    assert table["x"].to_pylist() == wanted and str(table["t"].type) == "timestamp[ns, tz=UTC]" and int(headers["Content-Length"]) == len(whole)
    part = fetch(api, results + "?format=parquet&offset=1&limit=2")[2]
    assert pyarrow.parquet.read_table(pyarrow.py_buffer(part))["x"].to_pylist() == [2, 3]
    status, headers, body = fetch(api, results + "?format=parquet", Range="bytes=0-3")
    assert status == 206 and body == b"PAR1" and headers["Content-Range"] == f"bytes 0-3/{len(whole)}"
    assert fetch(api, results + "?format=parquet", Range=f"bytes={len(whole)}-")[0] == 416


def test_an_unchanged_result_is_not_sent_again(api, results):
    tag = fetch(api, results)[1]["ETag"]
    status, headers, body = fetch(api, results, **{"If-None-Match": tag})
    assert (status, body) == (304, b"")
    assert fetch(api, results + "?format=csv", **{"If-None-Match": tag})[0] == 200


def test_texts_are_compressed_when_asked(api):
    done = api.run("SELECT x, 'the same text again' AS s FROM generate_series(1, 20000) g(x)")
    status, headers, body = fetch(api, done["_links"]["results"]["href"], **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip" and len(json.loads(gzip.decompress(body))["rows"]) == 20000


def test_nested_values_are_json_in_every_text(api):
    done = api.run("SELECT [1, NULL] AS a, named_struct('k', 'v') AS o")
    assert done["state"] == "SUCCESS", done
    href = done["_links"]["results"]["href"]
    answer = json.loads(fetch(api, href)[2])
    assert answer["rows"] == [{"a": [1, None], "o": {"k": "v"}}]
    assert [column["type"] for column in answer["schema"]] == ["array<bigint>", "struct<k:string>"]
    assert list(csv.reader(io.StringIO(fetch(api, href + "?format=csv")[2].decode())))[1] == ["[1,null]", '{"k":"v"}']


def test_no_rows_are_an_answer_too(api):
    done = api.run("SELECT 1 AS x WHERE false")
    href = done["_links"]["results"]["href"]
    assert json.loads(fetch(api, href)[2])["rows"] == []
    assert fetch(api, href + "?format=csv")[2] == b"x\n"
    assert pyarrow.ipc.open_stream(fetch(api, href + "?format=arrow")[2]).read_all().num_rows == 0


def test_why_there_are_no_rows_is_said(api, server):
    failed = api.run("SELECT * FROM no_such_table")
    assert "results" not in failed["_links"]
    assert fetch(api, f"{BASE}/queries/{failed['id']}/results")[0] == 409
    name = "T" + uuid.uuid4().hex[:8]
    made = api.run(f"CREATE TABLE {name} AS SELECT 1 AS x")
    assert fetch(api, f"{BASE}/queries/{made['id']}/results")[0] == 404
    done = api.run("SELECT 1 AS x")
    other = Api(server.url, **{"x-gw-ims-org-id": "someone-else"})
    assert fetch(other, done["_links"]["results"]["href"])[0] == 404
    href = done["_links"]["results"]["href"]
    for argument in ("format=xml", "limit=0", "offset=-1", "numbers=roman"):
        assert fetch(api, f"{href}?{argument}")[0] == 400
    assert fetch(api, href, Accept="image/png")[0] == 406


def test_tables_are_shown_as_rows(api, server):
    name = "T" + uuid.uuid4().hex[:8]
    assert api.run(f"CREATE TABLE {name} AS SELECT 1 AS x")["state"] == "SUCCESS"
    shown = json.loads(fetch(api, api.run("SHOW TABLES")["_links"]["results"]["href"])[2])["rows"]
    assert [row for row in shown if row["name"] == name][0]["dataSet"] == f"NetDefaultDB.{name}"


def test_rows_expire_and_survive_a_restart(own_server):
    api = Api(own_server.url)
    href = api.run("SELECT 1 AS x")["_links"]["results"]["href"]
    path = href[len(own_server.url):]
    own_server.kill()
    own_server.start("--set", "job_result_seconds=1")
    api = Api(own_server.url)
    assert json.loads(fetch(api, path)[2])["rows"] == [{"x": 1}]
    href = api.run("SELECT 2 AS x")["_links"]["results"]["href"]
    until = time.monotonic() + 30
    while fetch(api, href)[0] == 200 and time.monotonic() < until:
        pass
    status, _, body = fetch(api, href)
    assert status == 410 and "run it again" in json.loads(body)["message"]
    kept = own_server.data / "results"
    while len(list(kept.iterdir())) > 1 and time.monotonic() < until:
        pass
    assert len(list(kept.iterdir())) == 1


def test_a_result_over_its_limit_fails_the_query(own_server):
    own_server.stop()
    own_server.start("--set", "job_result_bytes=2000")
    api = Api(own_server.url)
    done = api.run("SELECT random() AS x FROM generate_series(1, 5000)")
    assert done["state"] == "FAILED" and done["errors"][0]["code"] == "53400" and "2000" in done["errors"][0]["message"]
    assert list((own_server.data / "results").iterdir()) == []
    assert api.run("SELECT 1 AS x")["state"] == "SUCCESS"


def post(api, path, body, **headers):
    """Status, headers and document of a POST."""
    request = urllib.request.Request(api.url + path, json.dumps(body).encode(), {**api.headers, **headers}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def test_a_submission_waits_when_asked(api):
    status, headers, query = post(api, f"{BASE}/queries", {"sql": "SELECT 1 AS x"}, Prefer="wait=30")
    assert status == 200 and headers["Preference-Applied"] == "wait=30" and query["state"] == "SUCCESS"
    slow = "SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x % 7 = b.y % 7"
    status, headers, query = post(api, f"{BASE}/queries", {"sql": slow}, Prefer="wait=0")
    assert status == 202 and query["state"] in ("SUBMITTED", "IN_PROGRESS")
    api.call("PATCH", f"{BASE}/queries/{query['id']}", {"op": "cancel"})
    status, headers, body = fetch(api, f"{BASE}/queries/{query['id']}", Prefer="wait=30")
    assert json.loads(body)["state"] == "KILLED"


def test_a_repeated_submission_is_the_same_query(api):
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = post(api, f"{BASE}/queries", {"sql": "SELECT 1 AS x"}, **key)[2]
    again = post(api, f"{BASE}/queries", {"sql": "SELECT 1 AS x"}, **key)[2]
    assert first["id"] == again["id"]
    status, _, answer = post(api, f"{BASE}/queries", {"sql": "SELECT 2 AS x"}, **key)
    assert status == 409 and "another body" in answer["message"]
    assert len(api.call("GET", f"{BASE}/queries")[1]["queries"]) == 1
    other = {"Idempotency-Key": uuid.uuid4().hex}
    assert post(api, f"{BASE}/queries", {"sql": "SELEC"}, **other)[0] == 400
    assert post(api, f"{BASE}/queries", {"sql": "SELECT 3 AS x"}, **other)[0] == 202


def test_a_dry_run_tells_what_would_be_done_and_records_nothing(api):
    name = "T" + uuid.uuid4().hex[:8]
    api.run(f"CREATE TABLE {name} AS SELECT x FROM generate_series(1, 10) g(x)")
    before = len(api.call("GET", f"{BASE}/queries")[1]["queries"])
    status, _, answer = post(api, f"{BASE}/queries?dryRun=true", {"sql": f"SELECT x + 1 AS y FROM {name}"})
    assert status == 200 and answer["schema"] == [{"name": "y", "type": "bigint"}]
    assert answer["tables"][0]["name"] == name and answer["estimatedRows"] == 10 and "Projection" in answer["plan"]
    assert post(api, f"{BASE}/queries?dryRun=true", {"sql": "SELECT nope FROM (SELECT 1 AS x)"})[0] == 400
    assert len(api.call("GET", f"{BASE}/queries")[1]["queries"]) == before


def test_templates_are_made_listed_changed_used_and_deleted(api):
    status, made = api.call("POST", f"{BASE}/query-templates", {"sql": "SELECT $a AS a, '$b' AS b", "name": "two values", "queryParameters": {"a": 1, "b": "x"}})
    assert status == 202
    assert list(made) == ["sql", "name", "id", "queryParameters", "created", "updated", "userId", "_links"]
    assert made["_links"]["update"]["method"] == "PUT" and made["created"] == made["updated"]
    path = f"{BASE}/query-templates/{made['id']}"
    assert api.call("GET", path) == (200, made)
    done = api.finish(post(api, f"{BASE}/queries", {"templateId": made["id"], "queryParameters": {"$b": "it's"}})[2]["id"])
    assert done["state"] == "SUCCESS" and done["templateName"] == "two values" and done["effectiveSQL"] == "SELECT 1 AS a, 'it''s' AS b"
    assert [query["id"] for query in api.call("GET", f"{BASE}/queries?property=templateName~values")[1]["queries"]] == [done["id"]]
    assert [query["id"] for query in api.call("GET", f"{BASE}/queries?property=templateId=={made['id']}")[1]["queries"]] == [done["id"]]
    status, changed = api.call("PUT", path, {"sql": "SELECT 2 AS a", "name": "one value"})
    assert status == 202 and changed["lastUpdatedBy"] == made["userId"] and changed["queryParameters"] == {}
    more = [api.call("POST", f"{BASE}/query-templates", {"sql": "SELECT 1", "name": f"t{n}"})[1]["id"] for n in range(3)]
    page = api.call("GET", f"{BASE}/query-templates?limit=2")[1]
    assert [template["id"] for template in page["templates"]] == more[:0:-1] and "next" in page["_links"]
    assert [template["name"] for template in api.call("GET", f"{BASE}/query-templates?property=name~value")[1]["templates"]] == ["one value"]
    assert api.call("GET", f"{BASE}/query-templates/count") == (200, {"totalCount": 4, "version": 1})
    assert api.call("DELETE", path) == (202, {"message": "Deleted", "statusCode": 202})
    assert api.call("GET", path)[0] == 404 and api.call("DELETE", path)[0] == 404
    assert api.get(done["id"])[1]["effectiveSQL"] == "SELECT 1 AS a, 'it''s' AS b"
    for body in ({"sql": "SELECT 1"}, {"name": "n"}, {"sql": 1, "name": "n"}, {"sql": "SELECT 1", "name": "n", "queryParameters": {"a": []}}):
        assert api.call("POST", f"{BASE}/query-templates", body)[0] == 400


def test_an_accelerated_query_answers_with_rows(api):
    status, answer = api.call("POST", f"{BASE}/accelerated-queries", {"dbName": "prod:all", "sql": "SELECT CAST(7 AS INT) AS i, 'x' AS s, true AS b"})
    assert status == 200 and list(answer) == ["queryId", "resultsMeta", "results", "request"]
    assert answer["results"] == [{"i": 7, "s": "x", "b": True}]
    columns = answer["resultsMeta"]["_adhoc"]["properties"]
    assert columns["s"] == {"type": "string", "meta:xdmType": "string", "default": None} and columns["i"]["meta:xdmType"] == "int"
    assert api.get(answer["queryId"])[1]["state"] == "SUCCESS"
    status, answer = api.call("POST", f"{BASE}/accelerated-queries", {"dbName": "prod:all", "sql": "SELECT * FROM no_such_table"})
    assert status == 400 and answer["errors"][0]["code"] == "42P01"
    for body in ({"sql": "SELECT 1"}, {"dbName": "prod:all"}, {"dbName": "prod:all", "sql": "DROP TABLE t"}, {"dbName": "prod:all", "sql": "SELECT 1", "templateId": "x"}):
        assert api.call("POST", f"{BASE}/accelerated-queries", body)[0] == 400
