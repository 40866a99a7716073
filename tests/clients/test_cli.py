"""The command line and the first minutes of a newcomer."""
import json


def test_help_teaches(server):
    for command in ([], ["serve"], ["query"], ["load"], ["sql"], ["sql", "submit"], ["wait"], ["config", "show"]):
        done = server.cli(*command, "--help")
        assert done.returncode == 0 and "tidewater" in done.stdout
    assert "load" in server.cli("--help").stdout


def test_wait_returns_when_the_server_is_ready(server):
    assert server.cli("wait", "--url", server.url, timeout=60).returncode == 0


def test_query_prints_tables_csv_and_json(server):
    ask = lambda *more: server.cli("query", "print a = 1, s = 'x,y'", "--url", server.url, *more)
    table = ask().stdout
    assert "a" in table and "x,y" in table
    assert ask("--format", "csv").stdout.splitlines() == ["a,s", '1,"x,y"']
    assert json.loads(ask("--format", "json").stdout)
    wrong = server.cli("query", "prnt 1", "--url", server.url)
    assert wrong.returncode != 0 and "prnt" in wrong.stderr


def test_load_makes_a_table_from_a_file(server, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("name,age,born\nAda,36,1815-12-10\nAlan,41,1912-06-23\n")
    done = server.cli("load", str(path), "--db", "NetDefaultDB", "--table", "People", "--url", server.url)
    assert done.returncode == 0, done.stderr
    answer = server.cli("query", "People | sort by age asc | project name, age, year = getyear(born)", "--url", server.url, "--format", "csv")
    assert answer.stdout.splitlines() == ["name,age,year", "Ada,36,1815", "Alan,41,1912"]


def test_config_show_tells_values_and_origins(server, tmp_path):
    path = tmp_path / "t.toml"
    path.write_text('listen = "127.0.0.1:9999"\n')
    shown = server.cli("config", "show", "--config", str(path)).stdout
    assert "127.0.0.1:9999" in shown and "t.toml" in shown
    path.write_text('lisen = "x"\n')
    wrong = server.cli("config", "show", "--config", str(path))
    assert wrong.returncode != 0 and "lisen" in wrong.stderr


def test_listening_beyond_loopback_needs_insecure(server, tmp_path):
    done = server.cli("serve", "--listen", "0.0.0.0:0", "--data", str(tmp_path / "d"), timeout=60)
    assert done.returncode != 0 and "--insecure" in done.stderr


def test_a_second_server_on_the_same_data_is_refused(own_server):
    done = own_server.cli("serve", "--listen", "127.0.0.1:0", "--data", str(own_server.data), timeout=60)
    assert done.returncode != 0 and done.stderr


def test_sql_jobs_are_submitted_followed_and_fetched(server, tmp_path):
    def sql(*arguments):
        done = server.cli("sql", *arguments, "--url", server.url, "--org", "cli", timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = sql("submit", "SELECT x, 'v' || x AS v FROM generate_series(1, 3) g(x) ORDER BY x", "--wait", "--format", "csv")
    assert rows.splitlines() == ["x,v", "1,v1", "2,v2", "3,v3"]
    identity = sql("submit", "SELECT '$who' AS who", "--param", "who=it's", "--name", "greeting").strip()
    shown = json.loads(sql("fetch", identity, "--format", "json")) if json.loads(sql("status", identity, "--json"))["state"] == "SUCCESS" else None
    again = sql("submit", "SELECT '$who' AS who", "--param", "who=it's", "--wait", "--format", "ndjson")
    assert json.loads(again) == {"who": "it's"} and (shown is None or shown["rows"] == [{"who": "it's"}])
    path = tmp_path / "rows.parquet"
    fetched = json.loads(sql("list", "--limit", "1", "--json"))[0]["id"]
    sql("fetch", fetched, "--format", "parquet", "--output", str(path))
    assert path.read_bytes()[:4] == b"PAR1"
    assert "reads 0 rows" in sql("submit", "SELECT 1", "--dry-run")
    template = sql("template", "create", "one", "SELECT $n AS n", "--param", "n=5").strip()
    assert template in sql("template", "list") and "SELECT $n AS n" in sql("template", "show", template)
    assert json.loads(sql("submit", "--template", template, "--wait", "--format", "ndjson")) == {"n": 5}
    assert "Deleted" in sql("template", "delete", template)
    schedule = sql("schedule", "create", "0 6 * * *", "SELECT 1 AS x", "--time-zone", "Europe/Berlin").strip()
    assert schedule in sql("schedule", "list") and "ENABLED" in sql("schedule", "show", schedule)
    sql("schedule", "trigger", schedule)
    assert "true" in sql("schedule", "runs", schedule)
    sql("schedule", "disable", schedule)
    for arguments in (["submit", "SELEC 1"], ["status", "nope"], ["submit", "SELECT nope", "--wait"]):
        failed = server.cli("sql", *arguments, "--url", server.url, timeout=120)
        assert failed.returncode != 0 and failed.stderr.startswith("tidewater: ")
