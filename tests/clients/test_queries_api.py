"""The Query Service API over HTTP, as a client would use it."""
import json
import time
import urllib.error
import urllib.request
import uuid

import pytest

HEADERS = {"Authorization": "Bearer t", "x-gw-ims-org-id": "ORG@AdobeOrg", "x-api-key": "key", "x-sandbox-name": "prod", "Content-Type": "application/json"}
BASE = "/data/foundation/query"
ENDED = {"SUCCESS", "FAILED", "KILLED", "TIMEOUT"}


class Api:
    def __init__(self, url, **headers):
        self.url, self.headers = url, {**HEADERS, **headers}

    def call(self, method, path, body=None, raw=None):
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data, {k: v for k, v in self.headers.items() if v is not None}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def submit(self, sql, **more):
        status, query = self.call("POST", f"{BASE}/queries", {"dbName": "prod:all", "sql": sql, **more})
        assert status == 202, query
        return query

    def get(self, identity):
        return self.call("GET", f"{BASE}/queries/{identity}")

    def finish(self, identity):
        """Polls, as clients of this API must; bounded."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            query = self.get(identity)[1]
            if query["state"] in ENDED:
                return query
        raise AssertionError("the query did not end")

    def run(self, sql, **more):
        return self.finish(self.submit(sql, **more)["id"])


@pytest.fixture
def api(server):
    return Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})


def test_a_query_is_accepted_runs_and_ends(api):
    status, query = api.call("POST", f"{BASE}/queries", {"dbName": "prod:all", "sql": "SELECT 1 AS x;", "name": "n"})
    assert status == 202
    assert list(query) == ["isInsertInto", "request", "state", "rowCount", "errors", "isCTAS", "version", "id", "elapsedTime",
                           "updated", "client", "userId", "created", "_links"]
    assert query["state"] == "SUBMITTED" and query["rowCount"] == 0 and query["elapsedTime"] == 0 and query["errors"] == []
    assert query["created"] == query["updated"] and query["created"].endswith("Z") and len(query["created"]) == 24
    assert query["request"] == {"dbName": "prod:all", "sql": "SELECT 1 AS x;", "name": "n"}
    assert query["_links"]["cancel"]["body"] == '{ "op": "cancel"}' and query["_links"]["soft_delete"]["method"] == "PATCH"
    done = api.finish(query["id"])
    assert done["state"] == "SUCCESS" and done["rowCount"] == 1 and "cancel" not in done["_links"]


def test_both_languages_see_the_same_tables(api, server):
    name = "T" + uuid.uuid4().hex[:8]
    for text in (f".create table {name} (Id: long, When: datetime, Word: string)", f".ingest inline into table {name} <| 1,2020-01-02,x\n2,2021-01-02,y"):
        status, answer = api.call("POST", "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": text})
        assert status == 200, answer
    done = api.run(f"SELECT word FROM {name} WHERE when >= TIMESTAMP '2021-01-01'")
    assert done["state"] == "SUCCESS" and done["rowCount"] == 1
    assert len(done["_links"]["referenced_datasets"][0]["id"]) == 24
    made = api.run(f"CREATE TABLE {name}_copy AS SELECT id, when, upper(word) AS w FROM {name}")
    assert (made["state"], made["rowCount"], made["isCTAS"]) == ("SUCCESS", 2, True)
    more = api.run(f"INSERT INTO {name}_copy SELECT id + 10, when, word FROM {name}")
    assert (more["state"], more["rowCount"], more["isInsertInto"]) == ("SUCCESS", 2, True)
    status, answer = api.call("POST", "/v1/rest/query", {"db": "NetDefaultDB", "csl": f"{name}_copy | sort by Id asc | project Id, w"})
    assert answer["Tables"][0]["Rows"] == [[1, "X"], [2, "Y"], [11, "x"], [12, "y"]]
    assert api.run(f"CREATE TABLE {name}_copy AS SELECT 1 AS x")["errors"][0]["code"] == "42P07"
    assert api.run(f"DROP TABLE {name}_copy")["state"] == "SUCCESS"


@pytest.mark.parametrize("sql, code", [("SELECT * FROM no_such_table", "42P01"), ("SELECT nope FROM (SELECT 1 AS x)", "42703"),
                                       ("INSERT INTO no_such_table SELECT 1", "42P01"), ("SELECT 1/0", "22012")])
def test_faults_that_need_the_catalog_end_failed(api, sql, code):
    done = api.run(sql)
    assert done["state"] == "FAILED"
    assert done["errors"][0]["code"] == code and done["errors"][0]["errorType"] == "USER_ERROR"


@pytest.mark.parametrize("body", [{}, {"sql": ""}, {"sql": "SELEC 1"}, {"sql": 5}, {"sql": "SELECT 1", "templateId": "x"}, {"templateId": "x"},
                                  {"sql": "SELECT 1", "ctasParameters": {}}, {"sql": "SELECT '$a'", "queryParameters": {}},
                                  {"sql": "SELECT 1", "dbName": "dev:all"}, {"sql": "BEGIN"}])
def test_what_cannot_be_right_is_refused_at_once(api, body):
    status, answer = api.call("POST", f"{BASE}/queries", body)
    assert status == 400 and answer["statusCode"] == 400 and answer["message"]
    assert api.call("GET", f"{BASE}/queries")[1]["queries"] == []


def test_broken_json_says_where(api):
    status, answer = api.call("POST", f"{BASE}/queries", raw=b'{"sql": "SELECT 1", }')
    assert status == 400 and "line 1 column" in answer["message"]


def test_parameters_cannot_inject(api):
    done = api.run("SELECT '$u' AS u WHERE '$u' = 'x'' OR ''1''=''1'", queryParameters={"u": "x' OR '1'='1"})
    assert done["state"] == "SUCCESS" and done["rowCount"] == 1 and done["effectiveSQL"].startswith("SELECT 'x''")


def test_lists_page_both_ways_without_loss(api):
    made = [api.submit(f"SELECT {n} AS n")["id"] for n in range(7)]
    for identity in made:
        api.finish(identity)
    seen, pages, path = [], [], f"{BASE}/queries?limit=3"
    while path:
        status, page = api.call("GET", path)
        assert status == 200 and page["_page"]["count"] == len(page["queries"]) and page["version"] == 1
        pages.append(page)
        seen += [query["id"] for query in page["queries"]]
        path = page["_links"].get("next", {}).get("href")
    assert seen == made[::-1]
    back = api.call("GET", pages[2]["_links"]["prev"]["href"])[1]
    assert [query["id"] for query in back["queries"]] == [query["id"] for query in pages[1]["queries"]]
    assert api.call("GET", pages[0]["_links"]["prev"]["href"])[1]["queries"] == []
    up = api.call("GET", f"{BASE}/queries?orderby=created&limit=2")[1]
    assert [query["id"] for query in up["queries"]] == made[:2] and up["_page"]["orderby"] == "created"
    start = pages[1]["_page"]["start"]
    again = api.call("GET", f"{BASE}/queries?limit=3&start={start}")[1]
    assert [query["id"] for query in again["queries"]] == [query["id"] for query in pages[1]["queries"]]


@pytest.mark.parametrize("arguments", ["limit=0", "limit=x", "orderby=nope", "start=5", "property=nope==1", "excludeHidden=maybe"])
def test_bad_arguments_of_a_list_are_refused(api, arguments):
    assert api.call("GET", f"{BASE}/queries?{arguments}")[0] == 400


def test_a_running_query_is_cancelled_and_an_ended_one_is_not(api):
    slow = "SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x % 7 = b.y % 7"
    identity = api.submit(slow)["id"]
    status, answer = api.call("PATCH", f"{BASE}/queries/{identity}", {"op": "cancel"})
    assert status == 202 and answer == {"message": "Query cancel request received", "statusCode": 202}
    assert api.finish(identity)["state"] == "KILLED"
    assert api.call("PATCH", f"{BASE}/queries/{identity}", {"op": "cancel"})[0] == 409
    assert api.call("PATCH", f"{BASE}/queries/{identity}", {"op": "nope"})[0] == 400
    assert api.call("PATCH", f"{BASE}/queries/{uuid.uuid4()}", {"op": "cancel"})[0] == 404


def test_a_soft_deleted_query_is_hidden(api):
    identity = api.submit("SELECT 1 AS x")["id"]
    before = api.finish(identity)
    status, answer = api.call("PATCH", f"{BASE}/queries/{identity}", {"op": "soft_delete"})
    assert status == 202 and answer["statusCode"] == 202
    assert api.get(identity)[0] == 404
    assert api.call("GET", f"{BASE}/queries")[1]["queries"] == []
    status, kept = api.call("GET", f"{BASE}/queries/{identity}?excludeSoftDeleted=false")
    assert status == 200 and kept["updated"] == before["updated"]


def test_organisations_and_sandboxes_do_not_see_each_other(api, server):
    identity = api.submit("SELECT 1 AS x")["id"]
    other = Api(server.url, **{"x-gw-ims-org-id": "someone-else"})
    assert other.get(identity)[0] == 404
    assert Api(server.url, **{"x-gw-ims-org-id": None}).get(identity)[0] == 400


def test_records_survive_a_restart_and_unfinished_ones_fail(own_server):
    api = Api(own_server.url)
    done = api.run("SELECT 1 AS x")
    slow = api.submit("SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x % 7 = b.y % 7")["id"]
    own_server.kill()
    own_server.start()
    api = Api(own_server.url)
    after = api.get(done["id"])[1]
    assert after["state"] == "SUCCESS" and after["created"] == done["created"]
    failed = api.get(slow)[1]
    assert failed["state"] == "FAILED" and failed["errors"][0] == {
        "code": "58000", "message": "the server stopped before the query ended", "errorType": "SYSTEM_ERROR"}
