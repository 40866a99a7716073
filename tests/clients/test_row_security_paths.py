"""Row level security on every path to a table: what a policy hides is as if it were not there.

Each path is gone three times by one caller, in databases that are made alike: `Masked` holds all rows behind a policy, `Mine`
holds the caller's rows alone, `Plain` holds all rows and no policy. A path keeps the policy when `Masked` answers as `Mine`
does, and shows that it would tell a difference when `Plain` answers otherwise."""
import json
import pathlib
import re
import subprocess
import time
import uuid

import psycopg
import pytest
import requests

from conftest import ROOT, Server

BASE = "/data/foundation/query"
ROWS = {"ann": ["'aaduser=ann', 1", "'aaduser=ann', 5"], "others": ["'aaduser=bob', 20", "'aaduser=bob', 300", "'aaduser=eve', 7000"]}
DATABASES = ("Masked", "Mine", "Plain")

# Each answers from the table `Sales` and must not name its database otherwise than as {db}.
KQL = {
    "the table": "Sales",
    "a count": "Sales | count",
    "a sum": "Sales | summarize sum(Amount), dcount(Who)",
    "a count of an aggregate alone": "Sales | summarize count()",
    "the greatest": "Sales | top 1 by Amount",
    "the first row": "Sales | order by Amount desc | take 1",
    "a filter that the policy's rows fail": "Sales | where Who != current_principal() | count | extend n = toscalar(Sales | summarize sum(Amount))",
    "distinct": "Sales | distinct Who",
    "a sample": "Sales | sample 100 | summarize sum(Amount)",
    "a sample of values": "Sales | sample-distinct 100 of Who | count",
    "top-nested": "Sales | top-nested 5 of Who by sum(Amount)",
    "top-hitters": "Sales | top-hitters 5 of Who",
    "a stored function": "Whole()",
    "a stored function that calls one": "Twice()",
    "a stored function with a table": "Given(Sales)",
    "invoke": "Sales | invoke Given()",
    "a scalar stored function": "print x = Total()",
    "a view of union": "union Vie* | summarize sum(Amount)",
    "union": "union Sales, Sales | summarize sum(Amount)",
    "union of all": "union * | summarize sum(Amount)",
    "union of all by kind": "union kind=inner Sal* | summarize count()",
    "union with source": "union withsource=s Sale* | summarize count() by s",
    "find": "find where Amount > 10 | count | extend n = toscalar(Sales | count)",
    "find in": "find in (Sales) where Amount > 0 project Who, Amount",
    "search": "search 'aaduser' | summarize count()",
    "search in": "search in (Sales) Amount > 0 | summarize sum(Amount)",
    "search behind a pipe": "Sales | search 'aaduser' | count",
    "join": "Sales | join kind=inner (Sales) on Who | count",
    "join on the right": "datatable(Who: string) ['aaduser=bob', 'aaduser=ann'] | join kind=leftouter (Sales) on Who | summarize sum(Amount)",
    "anti join": "datatable(Who: string) ['aaduser=bob', 'aaduser=ann'] | join kind=leftanti (Sales) on Who",
    "lookup": "datatable(Who: string) ['aaduser=bob', 'aaduser=ann'] | lookup (Sales) on Who",
    "in": "datatable(Who: string) ['aaduser=bob', 'aaduser=ann'] | where Who in ((Sales | project Who))",
    "not in": "datatable(Who: string) ['aaduser=bob', 'aaduser=ann'] | where Who !in ((Sales | project Who))",
    "has_any": "datatable(Who: string) ['aaduser=bob', 'aaduser=ann'] | where Who has_any ((Sales | project Who))",
    "toscalar": "print x = toscalar(Sales | summarize max(Amount))",
    "materialize": "let m = materialize(Sales); union m, m | summarize sum(Amount)",
    "let": "let s = Sales; s | summarize sum(Amount)",
    "let with view": "let s = view () { Sales }; union s* | summarize sum(Amount)",
    "a lambda": "let f = (t: (Amount: long)) { t | summarize sum(Amount) }; f(Sales)",
    "table()": "table('Sales') | summarize sum(Amount)",
    "table() in a lambda": "let f = (t: string) { table(t) | summarize sum(Amount) }; f('Sales')",
    "database()": "database('{db}').Sales | summarize sum(Amount)",
    "database().table()": "database('{db}').table('Sales') | summarize sum(Amount)",
    "database() with a pattern": "union database('{db}').Sal* | summarize sum(Amount)",
    "database() and a function": "database('{db}').Whole() | summarize sum(Amount)",
    "restrict access": "restrict access to (Sales); Sales | summarize sum(Amount)",
    "macro-expand": "macro-expand entity_group [database('{db}')] as d (d.Sales | summarize sum(Amount))",
    "fork": "Sales | fork (count) (summarize sum(Amount))",
    "facet": "Sales | facet by Who",
    "partition": "Sales | partition by Who (summarize sum(Amount))",
    "partition natively": "Sales | partition hint.strategy=native by Who (top 1 by Amount)",
    "mv-apply": "Sales | mv-apply x = range(1, 2) to typeof(long) on (summarize t = sum(x)) | count",
    "make-series": "Sales | make-series sum(Amount) on Amount from 0 to 10000 step 5000",
    "pivot": "Sales | evaluate pivot(Who, sum(Amount))",
    "narrow": "Sales | evaluate narrow() | count",
    "bag_unpack": "Sales | project b = pack('a', Amount) | evaluate bag_unpack(b)",
    "lists and bags": "Sales | summarize make_list(Amount), make_bag(pack(Who, Amount))",
    "scan": "Sales | order by Amount asc | scan declare (t: long) with (step s: true => t = Amount + s.t;)",
    "reduce": "Sales | reduce by Who | project Count",
    "serialize": "Sales | order by Amount asc | extend n = row_number()",
    "consume": "Sales | as s | union s | summarize count()",
    "a graph": "Sales | make-graph Who --> Who | graph-match (a)-[e]->(b) project e.Amount",
    "a graph with nodes": "Sales | make-graph Who --> Who with Sales on Who | graph-to-table nodes",
    "a materialized view": "Latest | summarize sum(Amount)",
    "materialized_view()": "materialized_view('Latest') | summarize sum(Amount)",
    "a cursor": "Sales | where cursor_after('') | count",
    "extents": "Sales | summarize count() by isnotempty(extent_id())",
    "hidden columns": "Sales | summarize count() by isnull(ingestion_time())",
    "an error of a row": "Sales | where strrep('x', Amount * 1000) != '' | count",
    "an assertion": "print assert(toscalar(Sales | count) < 3, 'more rows') | extend n = toscalar(Sales | summarize sum(Amount))",
}

TSQL = {
    "SELECT": "SELECT Who, Amount FROM Sales",
    "an aggregate": "SELECT SUM(Amount) AS s, COUNT(*) AS n FROM Sales",
    "a join": "SELECT COUNT(*) AS n FROM Sales a JOIN Sales b ON a.Who = b.Who",
    "a common table expression": "WITH x AS (SELECT * FROM Sales) SELECT SUM(Amount) AS s FROM x",
    "a subquery": "SELECT (SELECT MAX(Amount) FROM Sales) AS m",
    "IN": "SELECT COUNT(*) AS n FROM Sales WHERE Who IN (SELECT Who FROM Sales)",
    "UNION": "SELECT Amount FROM Sales UNION SELECT Amount + 1 FROM Sales",
    "a function": "SELECT * FROM kusto.Whole()",
    "a window": "SELECT Amount, SUM(Amount) OVER () AS s FROM Sales",
    "a full name": "SELECT SUM(Amount) AS s FROM {db}.dbo.Sales",
}

JOBS = {
    "SELECT": "SELECT Who, Amount FROM Sales",
    "an aggregate": "SELECT SUM(Amount) AS s, COUNT(*) AS n FROM Sales",
    "COUNT alone": "SELECT COUNT(*) AS n FROM Sales",
    "a join": "SELECT COUNT(*) AS n FROM Sales a JOIN Sales b ON a.Who = b.Who",
    "a common table expression": "WITH x AS (SELECT * FROM Sales) SELECT SUM(Amount) AS s FROM x",
    "a subquery": "SELECT (SELECT MAX(Amount) FROM Sales) AS m",
    "EXISTS": "SELECT COUNT(*) AS n FROM (SELECT 1 AS x) t WHERE EXISTS (SELECT 1 FROM Sales WHERE Amount > 10)",
    "another database's name": "SELECT SUM(Amount) AS s FROM {db}.Sales",
    "a window": "SELECT Amount, SUM(Amount) OVER () AS s FROM Sales ORDER BY Amount",
}


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("paths")
    binary = request.config.getoption("--server")
    accounts, exports = directory / "accounts.toml", directory / "exports"
    exports.mkdir()

    def account(*arguments):
        answer = subprocess.run([binary, "account", "add", *arguments, "--file", str(accounts)], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    secrets = {"root": account("root", "--role", "admin"), "ann": account("ann", "--kind", "user")}
    settings = ["sign_in=required", f"accounts_file={accounts}", f"export_directories={exports}", "postgres_listen=127.0.0.1:0"]
    server = Server(binary, directory / "data", *[part for setting in settings for part in ("--set", setting)])
    server.port = int(re.search(r"served on 127.0.0.1:(\d+)", server.process.stdout.readline()).group(1))
    server.secrets, server.exports = secrets, exports
    for database in DATABASES:
        rows = ROWS["ann"] + (ROWS["others"] if database != "Mine" else [])
        command(server, "root", "NetDefaultDB", f".create database {database}")
        command(server, "root", database, ".create table Sales (Who: string, Amount: long)")
        command(server, "root", database, ".create materialized-view Latest on table Sales { Sales | summarize arg_max(Amount, *) by Who, Amount }")
        command(server, "root", database, f".set-or-append Sales <| datatable(Who: string, Amount: long) [{', '.join(rows)}]")
        command(server, "root", database, ".create function Whole() { Sales }")
        command(server, "root", database, ".create function Twice() { union Whole(), Whole() }")
        command(server, "root", database, ".create function Given(T: (Amount: long)) { T | summarize sum(Amount) }")
        command(server, "root", database, ".create function Total() { toscalar(Sales | summarize sum(Amount)) }")
        command(server, "root", database, ".create function with (view=true) View1() { Sales }")
        command(server, "root", database, f".add database {database} users ('aaduser=ann')")
    for owner, name in (("materialized-view", "Latest"), ("table", "Sales")):
        command(server, "root", "Masked", f'.alter {owner} {name} policy row_level_security enable "{name} | where Who == current_principal()"')
    yield server
    server.stop()


def posted(server, who, path, database, text, **options):
    body = {"db": database, "csl": text.replace("{db}", database), "properties": {"Options": options}}
    return requests.post(f"{server.url}{path}", json=body, headers={"Authorization": f"Bearer {server.secrets[who]}"}, timeout=60)


def command(server, who, database, text, **options):
    answer = posted(server, who, "/v1/rest/mgmt", database, text, **options)
    assert answer.status_code == 200, f"{text}: {answer.text}"
    return answer.json()["Tables"][0]["Rows"]


def answer_of(response, database):
    """What a caller learns: all result tables with rows in any order, or the error; databases' names and ids left out."""
    if response.status_code != 200:
        error = response.json().get("error", {})
        return (response.status_code, str(error.get("@message", error)).split(" [")[0].replace(database, "{db}"))
    tables = response.json()["Tables"]
    # The tables behind the results are about the request.
    results = tables[:-3] if len(tables) > 3 else tables[:1]
    return json.loads(json.dumps([sorted(json.dumps(row) for row in table["Rows"]) for table in results]).replace(database, "{db}"))


def held(answers, path):
    masked, mine, plain = answers
    assert masked == mine, f"{path}: with the policy {masked}, of the caller's rows {mine}"
    assert masked != plain, f"{path} does not show whether the policy holds: {plain}"


@pytest.mark.parametrize("path", KQL)
def test_a_query(server, path):
    held([answer_of(posted(server, "ann", "/v1/rest/query", database, KQL[path]), database) for database in DATABASES], path)


@pytest.mark.parametrize("path", TSQL)
def test_a_t_sql_statement(server, path):
    held([answer_of(posted(server, "ann", "/v1/rest/query", database, TSQL[path], query_language="sql"), database) for database in DATABASES], path)


def test_the_second_version_in_all_its_shapes(server):
    for options in ({}, {"results_progressive_enabled": True}, {"results_v2_fragment_primary_tables": True, "results_v2_newlines_between_frames": True}):
        answers = []
        for database in DATABASES:
            frames = posted(server, "ann", "/v2/rest/query", database, "Sales", **options).json()
            primary = [frame for frame in frames if frame.get("TableKind") == "PrimaryResult" or frame["FrameType"] == "TableFragment"]
            answers.append(sorted(json.dumps(row) for frame in primary for row in frame.get("Rows", [])))
        held(answers, str(options))


def test_an_answer_from_the_cache(server):
    def asked(who, database):
        return answer_of(posted(server, who, "/v1/rest/query", database, "Sales | summarize sum(Amount)", query_results_cache_max_age="01:00:00"), database)

    # First someone else, whose answer is kept.
    for database in DATABASES:
        asked("root", database)
    for _ in range(2):
        held([asked("ann", database) for database in DATABASES], "the cache")


def test_a_stored_result(server):
    answers = []
    for database in DATABASES:
        command(server, "ann", database, ".set stored_query_result Kept <| Sales")
        answers.append(answer_of(posted(server, "ann", "/v1/rest/query", database, "stored_query_result('Kept')"), database))
    held(answers, "a stored result")


def test_a_query_behind_a_command(server):
    answers = []
    for database in DATABASES:
        text = ".show tables | where TableName == 'Sales' | extend n = toscalar(Sales | summarize sum(Amount)) | project n"
        answers.append(command(server, "ann", database, text))
    held(answers, "a command with a query")


@pytest.mark.parametrize("verb", [".set", ".append", ".set-or-append", ".set-or-replace"])
def test_a_copy(server, verb):
    answers = []
    for database in DATABASES:
        name = "Copy" + uuid.uuid4().hex
        if verb == ".append":
            command(server, "ann", database, f".create table {name} (Who: string, Amount: long)")
        command(server, "ann", database, f"{verb} {name} <| Sales")
        answers.append(answer_of(posted(server, "ann", "/v1/rest/query", database, f"{name} | project Who, Amount"), database))
        command(server, "root", database, f".drop table {name}")
    held(answers, verb)


@pytest.mark.parametrize("form", ["csv", "tsv", "json"])
def test_an_export(server, form):
    answers = []
    for database in DATABASES:
        target = server.exports / f"{database}{form}"
        target.mkdir()
        command(server, "ann", database, f".export to {form} (h@'{target}') <| Sales | order by Amount asc")
        answers.append("".join(file.read_text() for file in sorted(target.rglob("*")) if file.is_file()))
    held(answers, form)


class Sql:
    """The caller's jobs."""

    def __init__(self, server):
        self.server = server
        self.headers = {"Authorization": f"Bearer {server.secrets['ann']}", "x-gw-ims-org-id": str(uuid.uuid4()), "x-api-key": "k", "x-sandbox-name": "prod"}

    def call(self, method, path, body=None):
        url = path if path.startswith("http") else self.server.url + path
        return requests.request(method, url, json=body, headers=self.headers, timeout=60)

    def rows(self, database, sql):
        made = self.call("POST", f"{BASE}/queries", {"dbName": f"prod:{database}", "sql": sql.replace("{db}", database), "name": "q"})
        assert made.status_code == 202, made.text
        for _ in range(600):
            job = self.call("GET", f"{BASE}/queries/{made.json()['id']}").json()
            if job["state"] not in ("SUBMITTED", "IN_PROGRESS"):
                break
            time.sleep(0.1)
        assert job["state"] == "SUCCESS", job
        return sorted(json.dumps(row) for row in self.call("GET", job["_links"]["results"]["href"]).json()["rows"])


@pytest.mark.parametrize("path", JOBS)
def test_a_sql_job(server, path):
    sql = Sql(server)
    held([sql.rows(database, JOBS[path]) for database in DATABASES], path)


@pytest.mark.parametrize("path", JOBS)
def test_the_postgresql_protocol(server, path):
    answers = []
    for database in DATABASES:
        with psycopg.connect(host="127.0.0.1", port=server.port, user="ORG", dbname=f"prod:{database}", password=server.secrets["ann"], autocommit=True, connect_timeout=10) as connection:
            answers.append(sorted(connection.execute(JOBS[path].replace("{db}", database)).fetchall()))
    held(answers, path)


def test_stored_rows_are_asked_for_where_the_policy_is_known():
    """What reads stored rows for a caller does so through the catalog view, which tells the binder of the policy.

    A place that is new here is a path beside the policy until someone has looked: then it is listed, and gets a row above."""
    asks = re.compile(r"\.\s*(provider|provider_with_hidden|rows_with_origins)\(")
    found = set()
    for crate in ("service", "server"):
        for file in (ROOT / "crates" / crate / "src").rglob("*.rs"):
            for line in asks.finditer(file.read_text()):
                found.add((file.relative_to(ROOT / "crates").as_posix(), line.group(1)))
    assert found == {
        # The choke point: tables with their policy, and the same with their hidden columns.
        ("service/src/view.rs", "provider"),
        ("service/src/view.rs", "provider_with_hidden"),
        # Records are deleted by the table's admins, who may take its policy away as well.
        ("service/src/command/records.rs", "rows_with_origins"),
        # External tables, whose rows are no table's and which have no policy.
        ("service/src/external/mod.rs", "provider"),
    }
