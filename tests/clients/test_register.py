"""One register of queries for two languages: KQL as jobs, and system.queries."""
import time
import uuid

import pytest

from test_queries_api import BASE, Api


@pytest.fixture
def api(server):
    return Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})


def kql(api, text, **more):
    return api.run(text, language="kql", **more)


def rows(api, query):
    return api.call("GET", f"{BASE}/queries/{query['id']}/results")[1]["rows"]


def test_a_kql_query_is_a_job_with_rows(api):
    done = kql(api, "range n from 1 to 3 step 1 | extend at = datetime(2020-01-01) + n * 1d, bag = dynamic({\"a\":1}), f = real(1.5), d = decimal(1.25)")
    assert done["state"] == "SUCCESS" and done["rowCount"] == 3 and done["request"]["language"] == "kql", done
    found = rows(api, done)
    assert [row["n"] for row in found] == [1, 2, 3]
    assert found[0]["at"].startswith("2020-01-02T00:00:00") and found[0]["bag"] == '{"a":1}'


def test_declared_parameters_of_kql_are_values(api):
    done = kql(api, "declare query_parameters(word: string); print got = word", queryParameters={"word": "x'); drop"})
    assert done["state"] == "SUCCESS" and rows(api, done) == [{"got": "x'); drop"}]


def test_kql_fills_tables(api):
    name = "K" + uuid.uuid4().hex[:8]
    made = kql(api, "range n from 1 to 4 step 1 | extend t = datetime(2020-01-01 00:00:00.1234567)", ctasParameters={"datasetName": name})
    assert (made["state"], made["rowCount"], made["isCTAS"]) == ("SUCCESS", 4, True), made
    more = kql(api, f"{name} | extend n = n + 10", insertIntoParameters={"datasetName": name})
    assert (more["state"], more["rowCount"], more["isInsertInto"]) == ("SUCCESS", 4, True), more
    assert len(more["_links"]["referenced_datasets"]) == 1
    status, answer = api.call("POST", "/v1/rest/query", {"db": "NetDefaultDB", "csl": f"{name} | summarize n = count(), t = max(t)"})
    assert answer["Tables"][0]["Rows"] == [[8, "2020-01-01T00:00:00.1234567Z"]]


@pytest.mark.parametrize("text, code", [("NoSuchTable | count", "42P01"), ("print x = nope", "42703"), ("print 1; print 2", "0A000")])
def test_faults_of_kql_end_failed(api, text, code):
    done = kql(api, text)
    assert done["state"] == "FAILED" and done["errors"][0]["code"] == code, done


@pytest.mark.parametrize("body", [{"sql": "print (", "language": "kql"}, {"sql": ".show tables", "language": "kql"}, {"sql": "SELECT 1", "language": "cobol"}])
def test_what_is_no_kql_is_refused_at_once(api, body):
    status, answer = api.call("POST", f"{BASE}/queries", body)
    assert status == 400 and answer["message"]


def test_jobs_are_seen_and_cancelled_by_kusto(api):
    slow = "SELECT count(*) FROM generate_series(1, 100000000) a CROSS JOIN generate_series(1, 100000) b"
    query = api.submit(slow)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        status, answer = api.call("POST", "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": f".show running queries | where ClientActivityId == '{query['id']}' | project Text, State"})
        if answer["Tables"][0]["Rows"]:
            break
    assert answer["Tables"][0]["Rows"] == [[slow, "InProgress"]]
    api.call("POST", "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": f".cancel query '{query['id']}'"})
    assert api.finish(query["id"])["state"] == "KILLED"


def test_the_register_is_a_table_in_both_languages(api):
    mark = uuid.uuid4().hex
    first = api.run(f"SELECT '{mark}' AS a", name="first")
    second = kql(api, f"print a = '{mark}'")
    other = Api(api.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    other.run(f"SELECT '{mark}' AS other")
    found = rows(api, api.run(f"SELECT id, language, state, name, rowcount FROM system.queries WHERE text LIKE '%{mark}%' AND state = 'SUCCESS' ORDER BY created"))
    assert found == [{"id": first["id"], "language": "sql", "state": "SUCCESS", "name": "first", "rowCount": 1},
                     {"id": second["id"], "language": "kql", "state": "SUCCESS", "name": "", "rowCount": 1}]
    again = rows(api, kql(api, f"database('system').queries | where text has '{mark}' and state == 'SUCCESS' | summarize n = dcount(id)"))
    assert again[0]["n"] >= 2
    status, answer = api.call("POST", "/v1/rest/query", {"db": "NetDefaultDB", "csl": f"database('system').queries | where text has '{mark}' | where id == '{first['id']}' | project language, state"})
    assert answer["Tables"][0]["Rows"] == [["sql", "SUCCESS"]]


def test_several_statements_share_a_session(api):
    done = api.run("CREATE TEMP VIEW v AS SELECT 5 AS five; PREPARE p AS SELECT five + $1 AS n FROM v; EXECUTE p(2)")
    assert done["state"] == "SUCCESS" and done["rowCount"] == 1, done
    assert rows(api, done) == [{"n": 7}]
    assert api.run("SET application_name = 'x'; SHOW application_name")["rowCount"] == 1
    assert api.call("POST", f"{BASE}/queries", {"sql": "BEGIN"})[0] == 400


def test_views_are_read_by_later_jobs(api):
    name = "V" + uuid.uuid4().hex[:8]
    assert api.run(f"CREATE VIEW {name} (a, b) AS SELECT 1, 'x'")["state"] == "SUCCESS"
    assert rows(api, api.run(f"SELECT b, a FROM {name} AS v WHERE v.a = 1")) == [{"b": "x", "a": 1}]
    assert api.run(f"CREATE VIEW {name} AS SELECT 1 AS x")["errors"][0]["code"] == "42P07"
    assert name in [row["name"] for row in rows(api, api.run("SHOW TABLES"))]
    assert api.run(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {name}")["state"] == "SUCCESS"
    assert api.run(f"SELECT * FROM {name}")["errors"][0]["code"] == "53400"
    assert api.run(f"DROP VIEW {name}")["state"] == "SUCCESS"
    assert api.run(f"DROP VIEW {name}")["errors"][0]["code"] == "42P01"
    assert api.run(f"CREATE VIEW {name} AS SELECT nope FROM nowhere")["errors"][0]["code"] == "42P01"
