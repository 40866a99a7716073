"""Who may do what, over HTTP: 401 without a token, 403 with one that is not enough, in both APIs."""
import subprocess

import pytest
import requests

from conftest import Server


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("rights")
    binary = request.config.getoption("--server")
    accounts = directory / "accounts.toml"

    def account(*arguments):
        answer = subprocess.run([binary, "account", "add", *arguments, "--file", str(accounts)], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    secrets = {
        "root": account("root", "--role", "admin"),
        "ann": account("ann", "--kind", "user", "--group", "analysts"),
        "eve": account("eve", "--kind", "user"),
        "robot": account("robot"),
    }
    settings = ["sign_in=required", f"accounts_file={accounts}", "local_issuer=true"]
    server = Server(binary, directory / "data", *[part for setting in settings for part in ("--set", setting)])
    server.secrets = secrets
    for command in (".create database D", ".create database Hidden"):
        assert kusto(server, "root", command, "NetDefaultDB").status_code == 200
    for command in (
        ".set T <| range a from 1 to 3 step 1",
        ".add database D viewers ('aadgroup=analysts') 'they read'",
        ".add table T ingestors ('aadapp=robot')",
    ):
        assert kusto(server, "root", command).status_code == 200
    yield server
    server.stop()


def kusto(server, who, text, database="D"):
    headers = {"Authorization": f"Bearer {server.secrets[who]}"} if who else {}
    path = "mgmt" if text.startswith(".") else "query"
    return requests.post(f"{server.url}/v1/rest/{path}", json={"db": database, "csl": text}, headers=headers)


def rows(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["Tables"][0]["Rows"]


def forbidden(answer):
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert error["code"] == "Forbidden" and error["@permanent"] is True
    assert "is not authorized to" in error["@message"]
    return error["@message"]


def test_without_a_token_nothing_is_told(server):
    assert kusto(server, None, "T | count").status_code == 401
    assert kusto(server, None, ".show databases").status_code == 401


def test_a_viewer_reads_through_a_group_and_changes_nothing(server):
    assert rows(kusto(server, "ann", "T | count")) == [[3]]
    assert "make entities in database 'D'" in forbidden(kusto(server, "ann", ".create table U (a: long)"))
    assert "administer table 'T'" in forbidden(kusto(server, "ann", ".drop table T"))


def test_whoever_has_no_role_is_told_of_nothing(server):
    assert "read database 'D'" in forbidden(kusto(server, "eve", "T | count"))
    assert rows(kusto(server, "eve", ".show databases")) == []
    assert [row[0] for row in rows(kusto(server, "ann", ".show databases"))] == ["D"]
    forbidden(kusto(server, "eve", ".show database D schema as json"))


def test_v2_forbids_as_well(server):
    answer = requests.post(f"{server.url}/v2/rest/query", json={"db": "D", "csl": "T | count"},
                           headers={"Authorization": f"Bearer {server.secrets['eve']}"})
    forbidden(answer)


def test_streaming_ingestion_asks_for_the_role(server):
    def stream(who):
        return requests.post(f"{server.url}/v1/rest/ingest/D/T?streamFormat=csv", data="4\n",
                             headers={"Authorization": f"Bearer {server.secrets[who]}"})
    assert stream("robot").status_code == 200
    forbidden(stream("ann"))
    forbidden(kusto(server, "robot", "T | count"))


def test_a_role_that_is_taken_away_is_gone_at_once(server):
    rows(kusto(server, "root", ".add database D users ('aaduser=eve')"))
    rows(kusto(server, "eve", ".create table Mine (a: long)"))
    assert [row[:1] for row in rows(kusto(server, "eve", ".show table Mine principals"))] == [["Table Mine Admin"]]
    rows(kusto(server, "root", ".drop database D users ('aaduser=eve')"))
    forbidden(kusto(server, "eve", "Mine | count"))


def test_roles_survive_a_restart(server):
    before = rows(kusto(server, "root", ".show database D principals"))
    server.stop()
    settings = ["sign_in=required", f"accounts_file={server.data.parent / 'accounts.toml'}", "local_issuer=true"]
    server.start(*[part for setting in settings for part in ("--set", setting)])
    assert rows(kusto(server, "root", ".show database D principals")) == before
    assert before[0][0] == "Database D Viewer"
