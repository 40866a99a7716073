"""Row level security over HTTP: each door gives a caller their own rows, and no door another's answer."""
import datetime
import subprocess
import time
import uuid

import pytest
import requests
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder

from conftest import Server

BASE = "/data/foundation/query"
POLICY = "Sales | where Who == current_principal()"


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("rows")
    binary = request.config.getoption("--server")
    accounts = directory / "accounts.toml"
    exports = directory / "exports"
    exports.mkdir()

    def account(*arguments):
        answer = subprocess.run([binary, "account", *arguments, "--file", str(accounts)], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    secrets = {
        "root": account("add", "root", "--role", "admin"),
        "ann": account("add", "ann", "--kind", "user"),
        "bob": account("add", "bob", "--kind", "user", "--group", "readers"),
        "tmp": account("add", "tmp", "--kind", "user", "--group", "readers"),
    }
    settings = ["sign_in=required", f"accounts_file={accounts}", "local_issuer=true", f"export_directories={exports}"]
    server = Server(binary, directory / "data", *[part for setting in settings for part in ("--set", setting)])
    server.secrets, server.account, server.exports = secrets, account, exports
    kusto(server, "root", ".create database D", "NetDefaultDB")
    for command in (
        ".set Sales <| datatable(Who: string, Amount: long) ['aaduser=ann', 1, 'aaduser=bob', 2, 'aaduser=bob', 30, 'aaduser=tmp', 400]",
        ".add database D users ('aaduser=ann', 'aadgroup=readers')",
        f'.alter table Sales policy row_level_security enable "{POLICY}"',
    ):
        kusto(server, "root", command)
    yield server
    server.stop()


def headers(server, who, **more):
    return {"Authorization": f"Bearer {server.secrets[who]}", **more}


def kusto(server, who, text, database="D", status=200, **properties):
    path = "mgmt" if text.startswith(".") else "query"
    body = {"db": database, "csl": text, "properties": {"Options": properties}}
    answer = requests.post(f"{server.url}/v1/rest/{path}", json=body, headers=headers(server, who))
    assert answer.status_code == status, answer.text
    return answer.json()["Tables"][0]["Rows"] if status == 200 else answer.text


class Sql:
    """A caller of the Query Service in one organisation."""

    def __init__(self, server, who, organisation):
        self.server, self.headers = server, headers(server, who, **{"x-gw-ims-org-id": organisation, "x-api-key": "k", "x-sandbox-name": "prod"})

    def call(self, method, path, body=None, **more):
        url = path if path.startswith("http") else self.server.url + path
        return requests.request(method, url, json=body, headers={**self.headers, **more}, timeout=60)

    def submit(self, sql, **more):
        answer = self.call("POST", f"{BASE}/queries", {"dbName": "prod:D", "sql": sql, "name": "q", **more})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def done(self, id):
        for _ in range(600):
            job = self.call("GET", f"{BASE}/queries/{id}").json()
            if job["state"] not in ("SUBMITTED", "IN_PROGRESS"):
                return job
            time.sleep(0.1)
        raise AssertionError("the query did not end")

    def rows(self, sql):
        job = self.done(self.submit(sql))
        assert job["state"] == "SUCCESS", job
        return self.call("GET", job["_links"]["results"]["href"]).json()["rows"]


@pytest.fixture
def organisation():
    return str(uuid.uuid4())


def test_the_sdk_gets_its_callers_rows_in_both_versions(server):
    for who, expected in (("ann", [1]), ("bob", [2, 30]), ("root", [])):
        client = KustoClient(KustoConnectionStringBuilder.with_aad_application_token_authentication(server.url, server.secrets[who]))
        answer = client.execute_query("D", "Sales | project Amount | order by Amount asc")
        assert [row[0] for row in answer.primary_results[0]] == expected
        answer = client.execute_mgmt("D", ".show tables | extend n = toscalar(Sales | count) | project n")
        assert [row[0] for row in answer.primary_results[0]] == [len(expected)]
        assert sorted(row[1] for row in kusto(server, who, "Sales")) == expected


def test_an_answer_that_may_be_cached_is_not_anothers(server):
    text = "Sales | summarize sum(Amount)"
    for who, expected in (("ann", 1), ("bob", 32), ("ann", 1), ("tmp", 400)):
        assert kusto(server, who, text, query_results_cache_max_age="01:00:00") == [[expected]]
        properties = ClientRequestProperties()
        properties.set_option("query_results_cache_max_age", datetime.timedelta(hours=1))
        client = KustoClient(KustoConnectionStringBuilder.with_aad_application_token_authentication(server.url, server.secrets[who]))
        assert client.execute_query("D", text, properties).primary_results[0][0][0] == expected


def test_errors_tell_nothing_of_hidden_rows(server):
    # The text of a row of another would be too long, its quotient would divide by zero.
    assert kusto(server, "ann", "Sales | where strrep('x', Amount * 1000000) != '' | count") == [[1]]
    assert "strrep()" in kusto(server, "tmp", "Sales | where strrep('x', Amount * 1000000) != '' | count", status=400)
    sql = Sql(server, "ann", str(uuid.uuid4()))
    assert sql.rows("SELECT 10 div (Amount - 30) AS x FROM Sales") == [{"x": 0}]
    assert sql.rows("SELECT CAST(Who AS VARCHAR) AS w FROM Sales WHERE 100 / (Amount - 2) < 0") == [{"w": "aaduser=ann"}]


def test_sql_gets_its_callers_rows(server, organisation):
    for who, expected in (("ann", 1), ("bob", 32), ("root", None)):
        sql = Sql(server, who, organisation)
        assert sql.rows("SELECT SUM(Amount) AS s FROM Sales") == [{"s": expected}]
        assert sql.rows("SELECT SUM(a.Amount) AS s FROM D.Sales a JOIN sales b ON a.Amount = b.Amount") == [{"s": expected}]
        assert sql.rows("WITH x AS (SELECT * FROM Sales) SELECT SUM(Amount) AS s FROM x WHERE Amount > 0") == [{"s": expected}]
        assert sql.rows("SELECT (SELECT MAX(Amount) FROM Sales) - (SELECT MIN(Amount) FROM Sales) AS s") == [{"s": {"ann": 0, "bob": 28}.get(who)}]
    ann = Sql(server, "ann", organisation)
    made = ann.done(ann.submit("CREATE TABLE copy_of_ann AS SELECT * FROM Sales"))
    assert made["state"] == "SUCCESS", made
    assert kusto(server, "ann", "copy_of_ann | count") == [[1]]


def test_tsql_gets_its_callers_rows(server):
    for who, expected in (("ann", 1), ("bob", 32)):
        assert kusto(server, who, "SELECT SUM(Amount) FROM Sales", query_language="sql") == [[expected]]


def test_exports_hold_their_callers_rows(server):
    target = server.exports / "ann"
    target.mkdir()
    kusto(server, "ann", f".export to csv (h@'{target}') <| Sales | project Amount")
    text = "".join(file.read_text() for file in sorted(target.rglob("*")) if file.is_file())
    assert text.split() == ["1"]


def test_streams_hold_their_callers_rows(server):
    answer = requests.post(f"{server.url}/v2/rest/query", headers=headers(server, "bob"),
                           json={"db": "D", "csl": "Sales | project Amount", "properties": {"Options": {"results_progressive_enabled": True}}})
    rows = [row for frame in answer.json() if frame.get("TableKind") == "PrimaryResult" or frame["FrameType"] == "TableFragment" for row in frame.get("Rows", [])]
    assert sorted(row[0] for row in rows) == [2, 30]


def test_a_query_is_its_makers(server, organisation):
    ann, bob, root = (Sql(server, who, organisation) for who in ("ann", "bob", "root"))
    id = ann.submit("SELECT * FROM Sales")
    assert ann.done(id)["state"] == "SUCCESS"
    path = f"{BASE}/queries/{id}"
    assert bob.call("GET", path).status_code == 404 and bob.call("GET", f"{path}/results").status_code == 404
    assert bob.call("PATCH", path, {"op": "cancel"}).status_code == 404 and bob.call("DELETE", path).status_code == 404
    assert bob.call("GET", f"{BASE}/queries").json()["queries"] == []
    assert [query["id"] for query in ann.call("GET", f"{BASE}/queries").json()["queries"]] == [id]
    # Administrators see what runs, and no rows: those are what its maker may see.
    assert root.call("GET", path).json()["userId"] == "aaduser=ann"
    assert root.call("GET", f"{path}/results").status_code == 403
    assert ann.call("GET", f"{path}/results").json()["rows"] == [{"Who": "aaduser=ann", "Amount": 1}]


def test_the_same_idempotency_key_of_two_callers_is_two(server, organisation):
    ann, bob = (Sql(server, who, organisation) for who in ("ann", "bob"))
    body = {"dbName": "prod:D", "sql": "SELECT * FROM Sales", "name": "q"}
    ids = [sql.call("POST", f"{BASE}/queries", body, **{"Idempotency-Key": "k"}).json()["id"] for sql in (ann, bob, ann)]
    assert ids[0] == ids[2] != ids[1]


def test_templates_are_read_by_all_and_changed_by_their_maker(server, organisation):
    ann, bob, root = (Sql(server, who, organisation) for who in ("ann", "bob", "root"))
    text = {"sql": "SELECT 1 AS x", "name": "t", "queryParameters": {}}
    made = ann.call("POST", f"{BASE}/query-templates", text)
    assert made.status_code < 300, made.text
    path = f"{BASE}/query-templates/{made.json()['id']}"
    assert bob.call("GET", path).json()["sql"] == text["sql"]
    assert bob.call("PUT", path, {**text, "sql": "SELECT 2 AS x"}).status_code == 403
    assert bob.call("DELETE", path).status_code == 403
    assert root.call("PUT", path, {**text, "sql": "SELECT 3 AS x"}).status_code < 300
    assert ann.call("DELETE", path).status_code < 300


def schedule(sql, text):
    start = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"query": {"dbName": "prod:D", "sql": text, "name": "s"}, "schedule": {"schedule": "@yearly", "startDate": start}}
    made = sql.call("POST", f"{BASE}/schedules", body)
    assert made.status_code == 202, made.text
    return f"{BASE}/schedules/{made.json()['id']}"


def last_run(sql, path):
    for _ in range(600):
        runs = sql.call("GET", f"{path}/runs").json()["runsSchedules"]
        if runs and runs[0]["state"] != "IN_PROGRESS":
            return runs[0]["state"]
        time.sleep(0.1)
    raise AssertionError("the run did not end")


def test_a_schedule_is_its_makers(server, organisation):
    ann, bob = (Sql(server, who, organisation) for who in ("ann", "bob"))
    path = schedule(ann, "SELECT * FROM Sales")
    assert bob.call("GET", path).status_code == 404 and bob.call("POST", f"{path}/runs").status_code == 404
    assert bob.call("PATCH", path, [{"op": "replace", "path": "/state", "value": "disable"}]).status_code == 404
    assert bob.call("GET", f"{path}/runs").status_code == 404 and bob.call("DELETE", path).status_code == 404
    assert bob.call("GET", f"{BASE}/schedules").json()["schedules"] == []
    assert ann.call("POST", f"{path}/runs").status_code == 202
    assert last_run(ann, path) == "SUCCESS"


def test_a_schedule_runs_with_the_rights_that_its_maker_has_then(server, organisation):
    tmp, root = (Sql(server, who, organisation) for who in ("tmp", "root"))
    path = schedule(tmp, "SELECT * FROM Sales")
    assert tmp.call("POST", f"{path}/runs").status_code == 202 and last_run(tmp, path) == "SUCCESS"
    # The group is what lets them read; the account's secret stays another matter.
    accounts = server.data.parent / "accounts.toml"
    before = accounts.read_text()
    head, own = before.split('id = "tmp"')
    time.sleep(0.01)
    accounts.write_text(head + 'id = "tmp"' + own.replace('"readers"', '"others"'))
    assert kusto(server, "tmp", "Sales | count", status=403)
    root.call("POST", f"{path}/runs")
    assert last_run(root, path) == "FAILED"
    # Nor does it run for an account that has gone.
    accounts.write_text(before)
    server.account("remove", "tmp")
    root.call("POST", f"{path}/runs")
    time.sleep(1)
    states = [run["state"] for run in root.call("GET", f"{path}/runs").json()["runsSchedules"]]
    assert states == ["FAILED", "FAILED", "SUCCESS"]
