"""What PostgreSQL's catalog shows, and every type in both formats, nulls too."""
import shutil
from datetime import datetime
from decimal import Decimal

import psycopg
import pytest

from test_postgres import connect, door, psql  # noqa: F401 (a fixture)

DB = "NetDefaultDB"


@pytest.fixture(scope="module")
def filled(door, tmp_path_factory):  # noqa: F811
    commands = [
        ".create table Kinds (L: long, I: int, R: real, B: bool, S: string, D: datetime, T: timespan, G: guid, M: decimal, Y: dynamic)",
        ".create materialized-view Counted on table Kinds { Kinds | summarize n = count() by S }",
        '.ingest inline into table Kinds <| 1,2,1.5,true,"héllo",2020-01-02T03:04:05.1234567Z,1.02:03:04.5000001,74be27de-1e4e-49d9-b579-fe0b331d3642,12345.678,"{""a"":[1,2]}"\n,,,,,,,,,\n',
    ]
    for text in commands:
        status, answer = door.api.call("POST", "/v1/rest/mgmt", {"db": DB, "csl": text})
        assert status == 200, answer
    with connect(door) as connection:
        connection.execute("CREATE VIEW Shown AS SELECT l AS number, s FROM kinds WHERE l > 0")
    return door


@pytest.mark.parametrize("binary", [False, True])
def test_every_type_and_its_null_in_both_formats(filled, binary):
    with connect(filled) as connection, connection.cursor(binary=binary) as cursor:
        rows = cursor.execute("SELECT * FROM kinds ORDER BY l NULLS LAST").fetchall()
        assert rows[0] == (1, 2, 1.5, True, "héllo", datetime(2020, 1, 2, 3, 4, 5, 123456), 937845000001, "74be27de-1e4e-49d9-b579-fe0b331d3642",
                           Decimal("12345.678"), '{"a":[1,2]}')
        # The query language has no null of a string; of a guid the text is the empty one.
        assert rows[1][:4] == (None,) * 4 and rows[1][4] == "" and rows[1][5:7] == (None, None) and not rows[1][7] and rows[1][8] is None and not rows[1][9]
        assert cursor.execute("SELECT sum(m) FROM kinds WHERE m IS NOT NULL").fetchone() == (Decimal("12345.678"),)
        assert cursor.execute("SELECT count(*) FROM kinds WHERE m IS NULL").fetchone() == (1,)
        interval = cursor.execute("SELECT INTERVAL '1 day 2 hours' AS i").fetchone()[0]
        assert interval.days == 1 and interval.seconds == 7200


def test_materialized_views_are_read_and_not_written(filled):
    with connect(filled) as connection:
        assert connection.execute("SELECT s, n FROM counted ORDER BY s").fetchall() == [("", 1), ("héllo", 1)]
        assert connection.execute(f'SELECT sum(c.n) FROM "{DB}".counted AS c JOIN kinds ON kinds.s = c.s').fetchone() == (2,)
        for text in ("DROP TABLE counted", "INSERT INTO counted SELECT 'x', 1", "CREATE TABLE counted AS SELECT 1 AS x"):
            with pytest.raises(psycopg.Error):
                connection.execute(text)
        assert connection.execute("SELECT count(*) FROM counted").fetchone() == (2,)


def test_the_catalog_lists_tables_and_views_as_what_they_are(filled):
    with connect(filled) as connection:
        listed = dict(connection.execute("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s", [DB]).fetchall())
        assert listed["Kinds"] == "BASE TABLE" and listed["Shown"] == "VIEW" and listed["Counted"] == "VIEW"
        kinds = dict(connection.execute("SELECT c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                                        "WHERE n.nspname = %s", [DB]).fetchall())
        text = lambda kind: kind.decode() if isinstance(kind, bytes) else kind
        assert text(kinds["Kinds"]) == "r" and text(kinds["Shown"]) == "v" and text(kinds["Counted"]) == "v"
        columns = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'Shown' ORDER BY ordinal_position").fetchall()
        assert columns == [("number",), ("S",)] or columns == [("number",), ("s",)]


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql_describes_views_and_tables(filled):
    assert "Kinds" in psql(filled, r"\dt").stdout and "Shown" not in psql(filled, r"\dt").stdout
    views = psql(filled, r"\dv").stdout
    assert "Shown" in views and "Counted" in views and "Kinds" not in views
    both = psql(filled, r"\d").stdout
    assert all(name in both for name in ("Kinds", "Shown", "Counted"))
    described = psql(filled, r'\d "Shown"').stdout
    assert "number" in described and "bigint" in described
    described = psql(filled, r'\d "Kinds"').stdout
    for name, ty in (("L", "bigint"), ("I", "integer"), ("R", "double precision"), ("B", "boolean"), ("S", "text"), ("D", "timestamp without time zone"), ("M", "numeric")):
        assert name in described and ty in described
    assert "1 row" in psql(filled, "SELECT * FROM shown").stdout


def test_copying_is_refused_by_name(filled):
    with connect(filled) as connection:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="COPY"):
            connection.execute("COPY kinds TO STDOUT")
        assert connection.execute("SELECT 1").fetchone() == (1,)
