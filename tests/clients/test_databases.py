"""Queries of other databases: `postgresql_request` against a real PostgreSQL (package pgserver), `mysql_request` against a real
MariaDB (Debian's package, see mariadb.sh). Both run over data of their own in temporary directories."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

import pgserver
import pytest
import requests

from conftest import Server

SECRET = "p;w1"


def ask(url, text, path="/v1/rest/query", options=None):
    body = {"db": "NetDefaultDB", "csl": text, "properties": {"Options": options or {}}}
    return requests.post(url + path, json=body, timeout=60)


def rows(url, text):
    answer = ask(url, text)
    assert answer.status_code == 200, answer.text
    table = answer.json()["Tables"][0]
    return [(c["ColumnName"], c["ColumnType"]) for c in table["Columns"]], table["Rows"]


def fault(url, text, status=400, **more):
    answer = ask(url, text, **more)
    assert answer.status_code == status, answer.text
    # The sender's own query comes back with the fault; beyond it no secret is told.
    assert SECRET not in answer.text.replace(json.dumps(text, ensure_ascii=False)[1:-1], "")
    return answer.text


def settings(data, place):
    """A file of settings that allows a place."""
    path = data.parent / "tidewater.toml"
    path.write_text(f'external_urls = "{place}"\n')
    return str(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Database:
    """A database's server: its programs do not run as root, so there it runs as nobody."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.who = dict(user="nobody", group="nogroup", extra_groups=[]) if os.getuid() == 0 else {}
        if self.who:
            for parent in [folder, *folder.parents][:3]:
                os.chmod(parent, 0o755)
            shutil.chown(folder, "nobody", "nogroup")

    def prepare(self, *command):
        done = subprocess.run([str(part) for part in command], cwd=self.folder, capture_output=True, text=True, **self.who)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *command):
        log = open(self.folder / "server.log", "wb")
        self.process = subprocess.Popen([str(part) for part in command], cwd=self.folder, stdout=log, stderr=log, **self.who)
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.1)
        raise AssertionError("the database does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    database = Database(tmp_path_factory.mktemp("postgres"))
    folder = database.folder
    # A copy, because nobody may not read root's folders; the libraries lie beside the package.
    package = pathlib.Path(pgserver.__file__).parent
    shutil.copytree(package / "pginstall", folder / "pgserver" / "pginstall", symlinks=True)
    for libraries in package.parent.glob("pgserver.libs"):
        shutil.copytree(libraries, folder / "pgserver.libs")
    programs = folder / "pgserver" / "pginstall" / "bin"
    (folder / "password").write_text(SECRET)
    database.prepare(programs / "initdb", "-D", folder / "data", "-U", "tw", "-A", "scram-sha-256", "--pwfile", folder / "password", "-E", "UTF8")
    database.start(programs / "postgres", "-D", folder / "data", "-p", database.port, "-k", folder, "-c", "listen_addresses=127.0.0.1")
    yield database.port
    database.stop()


@pytest.fixture(scope="module")
def server(request, tmp_path_factory, postgres):
    data = tmp_path_factory.mktemp("databases") / "data"
    server = Server(request.config.getoption("--server"), data, "--config", settings(data, f"postgresql://127.0.0.1:{postgres}"))
    yield server
    server.stop()


def call(port, query, more="", connection=None):
    connection = connection or f"Host=127.0.0.1;Port={port};Database=postgres;User ID=tw;Password='{SECRET}';SslMode=Disable"
    return f'evaluate postgresql_request(h"{connection}", ```{query}```{more})'


def test_values_of_every_type_come_with_their_types(server, postgres):
    query = """select true as b, 1::int2 as i2, 2 as i4, 3::int8 as i8, 0.1::float4 as f4, 2.5::float8 as f8,
        '12345.6700'::numeric as n, '-0.00012'::numeric as m, 'text é' as t, 'c'::char(3) as c,
        date '2020-01-02' as d, timestamp '2020-01-02 03:04:05.123456' as ts, timestamptz '2020-01-02 03:04:05+02' as tz,
        time '01:02:03' as ti, interval '1 day 02:00:00' as iv, '74be27de-1e4e-49d9-b579-fe0b331d3642'::uuid as u,
        '{"a": [1, null]}'::jsonb as j, array[1, null, 3] as a, array[['x'],['y']] as aa, '\\x01ff'::bytea as by, null::int as nothing"""
    columns, [row] = rows(server.url, call(postgres, query))
    assert [ty for _, ty in columns] == [
        "bool", "int", "int", "long", "real", "real", "decimal", "decimal", "string", "string", "datetime", "datetime", "datetime",
        "timespan", "timespan", "guid", "dynamic", "dynamic", "dynamic", "string", "int"]
    assert row[:6] == [True, 1, 2, 3, 0.1, 2.5]
    assert [float(value) for value in row[6:8]] == [12345.67, -0.00012]
    assert row[8:15] == ["text é", "c  ", "2020-01-02T00:00:00Z", "2020-01-02T03:04:05.123456Z", "2020-01-02T01:04:05Z",
                         "01:02:03", "1.02:00:00"]
    assert row[15:] == ["74be27de-1e4e-49d9-b579-fe0b331d3642", {"a": [1, None]}, [1, None, 3], [["x"], ["y"]], "\\x01ff", None]


def test_parameters_are_values_and_no_text(server, postgres):
    more = """, dynamic({"a": 7, "b": "it's", "when": datetime(2020-01-01 16:47:26.7423305)})"""
    columns, [row] = rows(server.url, call(postgres, "select @a + 1 as n, @b as t, @when as dt, @a as again, '@a' as quoted", more))
    assert row == [8, "it's", "2020-01-01T16:47:26.742330Z".replace("0Z", "Z"), 7, "@a"]
    assert dict(columns)["dt"] == "datetime"


def test_many_rows_come_in_batches_and_go_on_in_the_query(server, postgres):
    query = call(postgres, "select g as id, repeat('x', 10) as s from generate_series(1, 50000) g")
    assert rows(server.url, query + " : (id: long, s: string) | where id % 2 == 0 | summarize count(), sum(id)")[1] == [[25000, 625025000]]
    assert rows(server.url, query + " : (id: long, s: string) | take 3 | count")[1] == [[3]]
    assert rows(server.url, call(postgres, "select 1 as a where false"))[1] == []


def test_a_schema_that_does_not_fit_is_a_fault(server, postgres):
    query = call(postgres, "select 1 as a, 'x' as b")
    assert rows(server.url, query + " : (a: real, b: string)")[1] == [[1.0, "x"]]
    assert "a:int, b:string" in fault(server.url, query + " : (a: int)")
    assert "a:int, b:string" in fault(server.url, query + " : (a: guid, b: string)")


def test_faults_tell_what_the_server_says_and_no_secret(server, postgres):
    assert "42P01" in fault(server.url, call(postgres, "select * from nowhere"))
    assert "22012" in fault(server.url, call(postgres, "select 1 / 0 as a") + " : (a: int)")
    wrong = f"Host=127.0.0.1;Port={postgres};Database=postgres;User ID=tw;Password={SECRET.replace(';', '')}x;SslMode=Disable"
    assert "28P01" in fault(server.url, call(postgres, "select 1", connection=wrong))
    # The server has no certificate, and encryption is not given up for that.
    plain = f"Host=127.0.0.1;Port={postgres};Database=postgres;User ID=tw;Password='{SECRET}'"
    assert "TLS" in fault(server.url, call(postgres, "select 1", connection=plain))
    assert "inet" in fault(server.url, call(postgres, "select inet '10.0.0.1' as a"))


def test_what_the_settings_or_the_policy_do_not_allow_is_not_asked(server, postgres):
    other = f"Host=127.0.0.1;Port={postgres + 1};User ID=tw;Password='{SECRET}';SslMode=Disable"
    assert "denied by policy" in fault(server.url, call(postgres, "select 1", connection=other))
    assert "callouts" in fault(server.url, call(postgres, "select 1"), options={"request_callout_disabled": True})
    policy = '[{"CalloutType": "postgresql", "CalloutUriRegex": "127\\\\\\\\.0", "CanCall": %s}]'
    changed = ask(server.url, f".alter cluster policy callout '{policy % 'false'}'", "/v1/rest/mgmt")
    assert changed.status_code == 200, changed.text
    try:
        assert "denied by policy" in fault(server.url, call(postgres, "select 1"))
    finally:
        ask(server.url, ".delete cluster policy callout", "/v1/rest/mgmt")


def test_a_query_that_ends_early_ends_over_there_too(server, postgres):
    sleeping = call(postgres, "select pg_sleep(30) is null as a") + " : (a: bool)"
    began = time.monotonic()
    answer = ask(server.url, sleeping, options={"servertimeout": "00:00:02"})
    assert answer.status_code != 200 and time.monotonic() - began < 10, answer.text
    running = call(postgres, "select count(*) as n from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'")
    for _ in range(50):
        if rows(server.url, running)[1] == [[0]]:
            return
        time.sleep(0.2)
    raise AssertionError("the query goes on")


@pytest.fixture(scope="module")
def mysql(request, tmp_path_factory):
    database = Database(tmp_path_factory.mktemp("mysql"))
    folder = database.folder
    first = folder / "first.sql"
    first.write_text("\n".join([
        "CREATE DATABASE things;", f"CREATE USER tw@'%' IDENTIFIED BY '{SECRET}';", "GRANT ALL ON things.* TO tw@'%';",
        # The anonymous user of the local host would come first.
        "DELETE FROM mysql.global_priv WHERE user = '';", "FLUSH PRIVILEGES;"]))
    database.prepare("mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal", "--skip-test-db")
    database.start("/usr/sbin/mariadbd", "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}",
                   f"--port={database.port}", "--bind-address=127.0.0.1", f"--init-file={first}")
    data = tmp_path_factory.mktemp("mysql") / "data"
    server = Server(request.config.getoption("--server"), data, "--config", settings(data, f"mysql://127.0.0.1:{database.port}"))
    connection = f"Server=127.0.0.1; Port = {database.port};Database=things;UID=tw;Pwd='{SECRET}';SslMode=None"

    def call(query, more=""):
        return f'evaluate mysql_request(h"{connection}", ```{query}```{more})'

    yield server, call
    server.stop()
    database.stop()


def test_values_of_mysql_come_with_their_types(mysql):
    server, call = mysql
    query = """select cast(1 as signed) as i, cast(18446744073709551615 as unsigned) as u, 1.5e0 as f, cast(12.50 as decimal(10,2)) as d,
        'text é' as t, date '2020-01-02' as da, timestamp '2020-01-02 03:04:05.123456' as ts, time '-25:02:03' as ti,
        x'01FF' as b, null as nothing"""
    columns, [row] = rows(server.url, call(query))
    # MariaDB makes an int of so small a number, MySQL a long.
    assert columns[0][1] in ("int", "long")
    assert [ty for _, ty in columns][1:8] == ["decimal", "real", "decimal", "string", "datetime", "datetime", "timespan"]
    assert row[0] == 1 and row[1] == "18446744073709551615" and row[2] == 1.5 and float(row[3]) == 12.5
    assert row[4:9] == ["text é", "2020-01-02T00:00:00Z", "2020-01-02T03:04:05.123456Z", "-1.01:02:03", "0x01FF"]


def test_parameters_and_schemas_of_mysql(mysql):
    server, call = mysql
    more = """, dynamic({"p": 7, "t": "it's", "when": datetime(2020-01-01 16:47:26.7423305)})"""
    columns, [row] = rows(server.url, call("select @p + 1 as n, @t as t, @when as dt, '@p' as q", more) + " : (n: long, t: string, dt: datetime, q: string)")
    assert row == [8, "it's", "2020-01-01T16:47:26.74233Z", "@p"]
    assert "1146" in fault(server.url, call("select * from nowhere"))
    assert "n:" in fault(server.url, call("select 1 as n") + " : (m: long)")
    assert rows(server.url, call("select seq as id from seq_1_to_20000") + " : (id: long) | summarize sum(id)")[1] == [[200010000]]
