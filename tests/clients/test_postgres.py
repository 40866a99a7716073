"""The PostgreSQL protocol, as psql, psycopg and asyncpg speak it."""
import asyncio
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
import uuid
from decimal import Decimal
from datetime import datetime, timezone

import asyncpg
import psycopg
import pytest

from conftest import Server
from test_queries_api import BASE, Api


@pytest.fixture(scope="module")
def door(request, tmp_path_factory):
    server = Server(request.config.getoption("--server"), tmp_path_factory.mktemp("postgres") / "data", "--set", "postgres_listen=127.0.0.1:0")
    line = server.process.stdout.readline()
    server.port = int(re.search(r"served on 127.0.0.1:(\d+)", line).group(1))
    api = Api(server.url, **{"x-gw-ims-org-id": "ORG"})
    for text in (".create table Places (Id: long, When: datetime, Word: string, Size: real, Flag: bool, Price: decimal, Bag: dynamic, Key: guid)",
                 ".ingest inline into table Places <| 1,2020-01-02T03:04:05.123456Z,alpha,1.5,true,12345678901234567.25,\"{\"\"a\"\":1}\",74be27de-1e4e-49d9-b579-fe0b331d3642\n"
                 "2,2021-01-01,\"beta, two\",,false,-0.5,[],"):
        status, answer = api.call("POST", "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": text})
        assert status == 200, answer
    server.api = api
    yield server
    server.stop()


def connect(door, **more):
    return psycopg.connect(host="127.0.0.1", port=door.port, user="ORG", dbname="prod:all", password="x", autocommit=True, connect_timeout=10, **more)


def psql(door, *commands, check=True):
    arguments = ["psql", "-X", "-h", "127.0.0.1", "-p", str(door.port), "-U", "ORG", "-d", "prod:all", "-v", "ON_ERROR_STOP=1"]
    for command in commands:
        arguments += ["-c", command]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, env={"PGPASSWORD": "x", "PATH": "/usr/bin:/bin:/usr/local/bin"})
    assert not check or done.returncode == 0, done.stderr
    return done


def test_connection_parameters_say_where(door):
    status, found = door.api.call("GET", f"{BASE}/connection_parameters")
    assert status == 200
    assert (found["host"], found["port"], found["username"], found["dbName"]) == ("127.0.0.1", door.port, "ORG", "prod:all")
    assert found["token"] == "t" and found["websocketHost"] and found["version"] == 1
    with psycopg.connect(host=found["host"], port=found["port"], user=found["username"], dbname=found["dbName"], password=found["token"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_every_type_has_a_value_in_both_formats(door):
    wanted = (1, datetime(2020, 1, 2, 3, 4, 5, 123456), "alpha", 1.5, True, Decimal("12345678901234567.25"), '{"a":1}', "74be27de-1e4e-49d9-b579-fe0b331d3642")
    with connect(door) as connection:
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                rows = cursor.execute("SELECT * FROM places ORDER BY id").fetchall()
                assert rows[0] == wanted
                assert rows[1][:4] == (2, datetime(2021, 1, 1), "beta, two", None) and rows[1][5] == Decimal("-0.5")
                assert [column.name for column in cursor.description] == ["Id", "When", "Word", "Size", "Flag", "Price", "Bag", "Key"]


def test_parameters_and_prepared_statements(door):
    with connect(door) as connection:
        assert connection.execute("SELECT id FROM places WHERE word = %s", ["alpha"]).fetchall() == [(1,)]
        assert connection.execute("SELECT id FROM places WHERE id > %s AND when < %s", [0, datetime(2020, 6, 1)]).fetchall() == [(1,)]
        assert connection.execute("SELECT %s::bigint + 1", [41]).fetchone() == (42,)
        for n in range(8):
            assert connection.execute("SELECT id + %s FROM places WHERE id = %s", [n, 1], prepare=True).fetchone() == (1 + n,)
        connection.execute("PREPARE p AS SELECT word FROM places WHERE id = $1")
        assert connection.execute("EXECUTE p(2)").fetchone() == ("beta, two",)
        connection.execute("DEALLOCATE p")
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            connection.execute("EXECUTE p(2)")


def test_what_is_written_is_counted_and_there(door):
    name = "T" + uuid.uuid4().hex[:8]
    with connect(door) as connection:
        assert connection.execute(f"CREATE TABLE {name} AS SELECT id, word FROM places").rowcount == 2
        assert connection.execute(f"INSERT INTO {name} VALUES (%s, %s)", [7, "it's"]).rowcount == 1
        assert connection.execute(f"SELECT word FROM {name} WHERE id = 7").fetchone() == ("it's",)
        with pytest.raises(psycopg.errors.DuplicateTable):
            connection.execute(f"CREATE TABLE {name} AS SELECT 1 AS x")
        connection.execute(f"DROP TABLE {name}")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute(f"SELECT * FROM {name}")


def test_faults_have_their_codes_and_the_connection_goes_on(door):
    with connect(door) as connection:
        for text, fault in (("SELEC 1", psycopg.errors.SyntaxError), ("SELECT nope FROM places", psycopg.errors.UndefinedColumn),
                            ("SELECT 1/0", psycopg.errors.DivisionByZero), ("UPDATE places SET id = 1", psycopg.errors.FeatureNotSupported)):
            with pytest.raises(fault):
                connection.execute(text)
            assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(host="127.0.0.1", port=door.port, user="ORG", dbname="prod:NoSuch", connect_timeout=10)


def test_transactions_are_accepted_and_end_after_a_fault(door):
    with psycopg.connect(host="127.0.0.1", port=door.port, user="ORG", dbname="prod:all") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM no_such_table")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT 2").fetchone() == (2,)


def test_cursors_fetch_in_parts(door):
    with psycopg.connect(host="127.0.0.1", port=door.port, user="ORG", dbname="prod:all") as connection:
        with connection.cursor(name="c") as cursor:
            cursor.execute("SELECT * FROM generate_series(1, 25000)")
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
            assert len(cursor.fetchmany(20000)) == 20000
            assert len(cursor.fetchall()) == 4997

    async def portal():
        connection = await asyncpg.connect(host="127.0.0.1", port=door.port, user="ORG", database="prod:all", password="x")
        async with connection.transaction():
            cursor = await connection.cursor("SELECT * FROM generate_series(1, 100)")
            assert [row[0] for row in await cursor.fetch(10)] == list(range(1, 11))
            assert len(await cursor.fetch(1000)) == 90
        row = await connection.fetchrow("SELECT id, when, size, flag, price FROM places WHERE id = $1", 1)
        assert tuple(row) == (1, datetime(2020, 1, 2, 3, 4, 5, 123456), 1.5, True, Decimal("12345678901234567.25"))
        assert await connection.fetchval("SELECT $1::bigint + 1", 41) == 42
        await connection.close()

    asyncio.run(portal())


def test_a_running_statement_is_cancelled(door):
    with connect(door) as connection:
        started = time.monotonic()
        threading.Timer(0.7, connection.cancel_safe).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT count(*) FROM generate_series(1, 100000000) a CROSS JOIN generate_series(1, 100000) b").fetchall()
        assert time.monotonic() - started < 20
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.execute("SET statement_timeout = 500")
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT count(*) FROM generate_series(1, 100000000) a CROSS JOIN generate_series(1, 100000) b").fetchall()


def test_statements_are_in_the_register_and_metadata_is_hidden(door):
    mark = uuid.uuid4().hex
    with connect(door) as connection:
        connection.execute(f"SELECT '{mark}' AS mark").fetchall()
        connection.execute("SELECT nspname FROM pg_catalog.pg_namespace").fetchall()
        rows = connection.execute("SELECT client, language, state FROM system.queries WHERE text LIKE %s AND text NOT LIKE '%%system.queries%%'", [f"%{mark}%"]).fetchall()
        assert rows == [("PSQL", "sql", "SUCCESS")]
    time.sleep(0.3)
    listed = door.api.call("GET", f"{BASE}/queries?property=sql~{mark}")[1]["queries"]
    assert [(query["client"], query["state"], query["rowCount"]) for query in listed if "system" not in query["request"]["sql"]] == [("PSQL", "SUCCESS", 1)]
    assert not any("pg_namespace" in query["request"]["sql"] for query in door.api.call("GET", f"{BASE}/queries?limit=1000")[1]["queries"])
    hidden = door.api.call("GET", f"{BASE}/queries?limit=1000&excludeHidden=false")[1]["queries"]
    assert any("pg_namespace" in query["request"]["sql"] for query in hidden)


def test_views_of_the_database_and_of_the_session(door):
    name = "V" + uuid.uuid4().hex[:8]
    with connect(door) as connection, connect(door) as other:
        connection.execute(f"CREATE VIEW {name} AS SELECT id AS n, word FROM places WHERE id < 2")
        assert other.execute(f"SELECT n FROM {name}").fetchall() == [(1,)]
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT id AS n FROM places")
        assert other.execute(f"SELECT count(*) FROM {name} AS v WHERE v.n > 0").fetchone() == (2,)
        connection.execute(f"CREATE TEMP VIEW t_{name} (a) AS SELECT n FROM {name}")
        assert connection.execute(f"SELECT max(a) FROM t_{name}").fetchone() == (2,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            other.execute(f"SELECT * FROM t_{name}")
        connection.execute(f"DROP VIEW {name}")
        with pytest.raises(psycopg.errors.UndefinedTable):
            other.execute(f"SELECT n FROM {name}")


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql_lists_databases_tables_and_columns(door):
    assert "prod:all" in psql(door, r"\l").stdout
    assert "Places" in psql(door, r"\dt").stdout
    columns = psql(door, r'\d "Places"').stdout
    assert "Word" in columns and "bigint" in columns and "timestamp without time zone" in columns
    assert "2\n(1 row)" in psql(door, "SELECT count(*) FROM places").stdout.replace(" ", "").replace("(1row)", "\n(1 row)").replace("\n\n", "\n")
    done = psql(door, "SELECT * FROM nope", check=False)
    assert "does not exist" in done.stderr and done.returncode == 1
    both = psql(door, "SELECT 1 AS a; SELECT 2 AS b")
    assert both.returncode == 0 and "b" in both.stdout
    assert "UTF8" in psql(door, "SHOW client_encoding").stdout


def test_garbage_ends_only_its_own_connection(door):
    import socket

    for data in (b"", b"\x00" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x08\x04\xd2\x16\x2fxxxx", b"\x16\x03\x01\x02\x00", bytes(range(256))):
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as raw:
            raw.sendall(data)
            raw.settimeout(1)
            try:
                raw.recv(100)
            except (TimeoutError, ConnectionError):
                pass
    with connect(door) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
