"""The command line and the first minutes of a newcomer."""
import json


def test_help_teaches(server):
    for command in ([], ["serve"], ["query"], ["load"], ["wait"], ["config", "show"]):
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
