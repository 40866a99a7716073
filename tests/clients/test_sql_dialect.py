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


def command(api, text):
    status, answer = api.call("POST", "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": text})
    assert status == 200, answer


def test_materialized_views_are_tables(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    command(api, ".create table MvSource (Who: string, N: long)")
    command(api, ".create materialized-view MvSums on table MvSource { MvSource | summarize Total = sum(N), Rows = count() by Who }")
    command(api, ".ingest inline into table MvSource <| a,1\na,2\nb,5")
    # What is not materialized yet counts too.
    assert rows(api, api.run("SELECT who, total, m.rows FROM MvSums AS m WHERE total > 1 ORDER BY Who")) == [
        {"Who": "a", "Total": 3, "Rows": 2}, {"Who": "b", "Total": 5, "Rows": 1}]
    assert rows(api, api.run('SELECT count(*) AS n FROM "NetDefaultDB".mvsums v JOIN MvSource s ON v."Who" = s."Who"')) == [{"n": 3}]
    assert "MvSums" in [row["name"] for row in rows(api, api.run("SHOW TABLES"))]
    taken = api.run("CREATE TABLE MvSums AS SELECT 1 AS x")
    assert taken["state"] == "FAILED" and taken["errors"][0]["code"] == "42P07", taken
    for text in ("DROP TABLE MvSums", "INSERT INTO MvSums SELECT 'c', 1, 1"):
        refused = api.run(text)
        assert refused["state"] == "FAILED", refused


def test_tables_and_databases_are_defined_without_a_query(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})

    def failed(text, code):
        done = api.run(text)
        assert done["state"] == "FAILED" and done["errors"][0]["code"] == code, done

    for text in ("CREATE DATABASE IF NOT EXISTS defined", "CREATE SCHEMA IF NOT EXISTS defined",
                 "CREATE TABLE defined.t (id BIGINT, word VARCHAR(20), at TIMESTAMP, price DECIMAL(10, 2))",
                 "CREATE TABLE IF NOT EXISTS defined.t (x INT)", "ALTER TABLE defined.t ADD COLUMN flag BOOLEAN, ADD COLUMN IF NOT EXISTS id INT",
                 "INSERT INTO defined.t (id, word, flag) SELECT 1, 'a', true"):
        done = api.run(text)
        assert done["state"] == "SUCCESS", done
    assert rows(api, api.run("SELECT id, word, at, flag FROM defined.t")) == [{"id": 1, "word": "a", "at": None, "flag": True}]
    failed("CREATE DATABASE defined", "42P04")
    failed("CREATE TABLE defined.t (x INT)", "42P07")
    failed("ALTER TABLE defined.t ADD COLUMN word INT", "42701")
    failed("ALTER TABLE defined.nosuch ADD COLUMN word INT", "42P01")
    failed("DROP SCHEMA defined", "2BP01")
    failed("DROP DATABASE nosuch", "3D000")
    failed("DROP DATABASE NetDefaultDB", "42501")
    assert api.run("DROP DATABASE IF EXISTS nosuch")["state"] == "SUCCESS"
    assert api.run("DROP SCHEMA defined CASCADE")["state"] == "SUCCESS"
    failed("SELECT * FROM defined.t", "42P01")


def test_columns_that_are_called_alike_are_kept_and_stored(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    [found] = rows(api, api.run("SELECT upper('a'), upper('a'), 3 / 2 AS half, 7 div 2 AS whole"))
    assert list(found.values()) == ["A", "A", 1.5, 3] and list(found)[2:] == ["half", "whole"], found
    assert api.run("CREATE TABLE alike AS SELECT 1 AS x, 2 AS x")["state"] == "SUCCESS"
    assert rows(api, api.run("SELECT x, x1 FROM alike")) == [{"x": 1, "x1": 2}]
    assert api.run("DROP TABLE alike")["state"] == "SUCCESS"
