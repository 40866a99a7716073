"""The PostgreSQL protocol over TLS with passwords: psql, psycopg and asyncpg sign in as accounts of the server."""
import asyncio
import re
import shutil
import ssl
import subprocess

import asyncpg
import psycopg
import pytest
import requests

from conftest import Server


@pytest.fixture(scope="module")
def secured(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("secured")
    binary = request.config.getoption("--server")
    accounts = directory / "accounts.toml"

    def account(*arguments):
        answer = subprocess.run([binary, "account", "add", *arguments, "--file", str(accounts)], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    secrets = {"ci": account("ci", "--role", "admin"), "ann": account("ann", "--kind", "user", "--role", "viewer")}
    settings = ["sign_in=required", f"accounts_file={accounts}", "local_issuer=true", "tls_self_signed=true", "postgres_listen=127.0.0.1:0"]
    server = Server(binary, directory / "data", *[part for setting in settings for part in ("--set", setting)])
    server.port = int(re.search(r"served on 127.0.0.1:(\d+)", server.process.stdout.readline()).group(1))
    server.secrets, server.ca = secrets, str(directory / "data" / "tls" / "ca.pem")
    yield server
    server.stop()


def connect(server, password, **more):
    wanted = {"sslmode": "verify-full", "sslrootcert": server.ca, **more}
    return psycopg.connect(host="127.0.0.1", port=server.port, user="ORG", dbname="prod:all", password=password, autocommit=True, connect_timeout=10, **wanted)


def test_a_secret_signs_in_and_the_certificate_is_checked(secured):
    for password in (secured.secrets["ci"], f"ci:{secured.secrets['ci']}"):
        with connect(secured, password) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.info.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        connect(secured, secured.secrets["ci"], sslrootcert="system")


def test_wrong_passwords_and_open_connections_are_refused(secured):
    for password in ("wrong", "ci:wrong", f"ann:{secured.secrets['ci']}", ""):
        with pytest.raises(psycopg.OperationalError):
            connect(secured, password)
    with pytest.raises(psycopg.OperationalError, match="TLS"):
        connect(secured, secured.secrets["ci"], sslmode="disable")


def test_rights_are_those_of_who_signed_in(secured):
    with connect(secured, secured.secrets["ci"]) as admin, connect(secured, secured.secrets["ann"]) as viewer:
        admin.execute("CREATE TABLE OnlyRead AS SELECT 1 AS x")
        assert viewer.execute("SELECT x FROM OnlyRead").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            viewer.execute("INSERT INTO OnlyRead SELECT 2")
        assert viewer.execute("SELECT count(*) FROM OnlyRead").fetchone() == (1,)


def test_connection_parameters_of_a_signed_in_caller_connect(secured):
    headers = {"Authorization": f"Bearer {secured.secrets['ci']}", "x-gw-ims-org-id": "ORG", "x-sandbox-name": "prod"}
    told = requests.get(f"{secured.url}/data/foundation/query/connection_parameters", headers=headers, verify=secured.ca).json()
    with psycopg.connect(host=told["host"], port=told["port"], user=told["username"], dbname=told["dbName"], password=told["token"],
                         sslmode="verify-full", sslrootcert=secured.ca) as connection:
        assert connection.execute("SELECT 2").fetchone() == (2,)


def test_asyncpg_signs_in(secured):
    async def ask():
        context = ssl.create_default_context(cafile=secured.ca)
        connection = await asyncpg.connect(host="127.0.0.1", port=secured.port, user="ORG", database="prod:all", password=secured.secrets["ann"], ssl=context)
        try:
            return await connection.fetchval("SELECT value FROM generate_series(1, 50) WHERE value = $1", 42)
        finally:
            await connection.close()

    assert asyncio.run(ask()) == 42


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql_signs_in(secured):
    address = f"host=127.0.0.1 port={secured.port} user=ORG dbname=prod:all sslmode=verify-full sslrootcert={secured.ca}"

    def psql(password, text):
        environment = {"PGPASSWORD": password, "PATH": "/usr/bin:/bin:/usr/local/bin"}
        return subprocess.run(["psql", "-X", "-At", address, "-c", text], capture_output=True, text=True, timeout=60, env=environment)

    assert psql(secured.secrets["ci"], "SELECT 40 + 2").stdout == "42\n"
    assert psql("wrong", "SELECT 1").returncode == 2
