"""Statements of Query Service's dialect as jobs: blocks, variables, tables made by SELECT INTO, functions of Spark and Adobe."""
import json
import urllib.request
import uuid

from test_queries_api import Api


def rows(api, done):
    assert done["state"] == "SUCCESS", done
    request = urllib.request.Request(done["_links"]["results"]["href"], headers=api.headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["rows"]


def test_a_block_runs_its_handler_when_a_statement_fails(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    block = """$$BEGIN
        SET @first = SELECT 1;
        SET @there = SELECT table_exists('block_rows');
        CREATE TABLE block_rows AS SELECT x FROM generate_series(@first, 5) AS g(x);
        INSERT INTO block_rows AS (SELECT 9 AS x WHERE NOT @there);
        %s
        EXCEPTION WHEN OTHER THEN
            DROP TABLE IF EXISTS block_rows;
            SELECT 'ERROR' AS told;
        $$END;"""
    done = api.run(block % "SELECT count(*) AS n, max(x) AS most FROM block_rows;")
    assert done["state"] == "SUCCESS", done
    assert rows(api, done) == [{"n": 6, "most": 9}]
    done = api.run(block % "SELECT nosuch FROM block_rows;")
    assert done["state"] == "SUCCESS", done
    assert rows(api, done) == [{"told": "ERROR"}]
    gone = api.run("SELECT table_exists('block_rows') AS it")
    assert rows(api, gone) == [{"it": False}]
    failed = api.run("$$BEGIN SELECT @nothing; END$$")
    assert failed["state"] == "FAILED" and failed["errors"][0]["code"] == "42P02", failed


def test_select_into_makes_a_table(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    made = api.run("SELECT x, x % 2 = 0 AS even INTO into_rows FROM generate_series(1, 4) AS g(x)")
    assert made["state"] == "SUCCESS" and made["rowCount"] == 4, made
    counted = api.run("SELECT count(*) AS n FROM into_rows WHERE even")
    assert rows(api, counted) == [{"n": 2}]
    assert api.run("DROP TABLE into_rows")["state"] == "SUCCESS"


def test_functions_of_spark_and_adobe_answer(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    done = api.run("""SELECT date_format(to_timestamp('2020-03-01', 'yyyy-MM-dd'), 'd MMM yyyy') AS d, split('a,b', ',') AS parts,
        get_json_object('{"a": [1, 2]}', '$.a[1]') AS j, map('k', 1) AS m""")
    assert rows(api, done) == [{"d": "1 Mar 2020", "parts": ["a", "b"], "j": "2", "m": {"k": 1}}]
    done = api.run("""SELECT s.num AS num, s.depth AS depth FROM (SELECT SESS_TIMEOUT(t, 60) OVER (ORDER BY t) AS s FROM
        (VALUES (TIMESTAMP '2020-01-01 00:00:00'), (TIMESTAMP '2020-01-01 00:00:30'), (TIMESTAMP '2020-01-01 00:05:00')) AS v(t)) AS q
        ORDER BY 1, 2""")
    assert rows(api, done) == [{"num": 1, "depth": 1}, {"num": 1, "depth": 2}, {"num": 2, "depth": 1}]


def test_statements_that_are_not_served_are_named(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    for sql, name in [("COPY (SELECT 1) TO 'x' WITH FORMAT csv", "COPY"), ("ANALYZE TABLE t COMPUTE STATISTICS", "ANALYZE"),
                      ("SELECT xpath('<a/>', 'a')", "xpath"), ("SELECT * FROM t SNAPSHOT SINCE 5", "SNAPSHOT")]:
        status, answer = api.call("POST", "/data/foundation/query/queries", {"dbName": "prod:all", "sql": sql})
        told = json.dumps(answer) if status != 202 else json.dumps(api.finish(answer["id"])["errors"])
        assert name in told and "not served" in told, told


def test_a_plan_comes_as_json(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    for form in ["FORMAT JSON", "(FORMAT JSON)"]:
        plans = rows(api, api.run(f"EXPLAIN {form} SELECT 1 AS x"))
        assert any("Plan" in json.dumps(json.loads(plan["plan"])) for plan in plans), plans
    assert rows(api, api.run("EXPLAIN FORMAT TEXT SELECT 1 AS x"))
