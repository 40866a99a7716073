"""Signing in as clients do: SDKs with an application's id and key over TLS, curl's token first, accounts and the CLI."""
import json
import os
import subprocess
import sys
import textwrap

import pytest
import requests

from conftest import Server

PRINCIPAL = "print current_principal()"


@pytest.fixture(scope="module")
def secured(request, tmp_path_factory):
    """A server that demands sign-in, speaks TLS with a made certificate and gives tokens itself."""
    directory = tmp_path_factory.mktemp("secured")
    binary = request.config.getoption("--server")
    accounts = directory / "accounts.toml"

    def account(*arguments):
        answer = subprocess.run([binary, "account", *arguments, "--file", str(accounts)], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    secrets = {"ci": account("add", "ci", "--name", "Build robot", "--role", "admin"), "ann": account("add", "ann", "--kind", "user", "--role", "viewer")}
    assert "Build robot" in account("list")
    settings = ["sign_in=required", f"accounts_file={accounts}", "local_issuer=true", "tls_self_signed=true"]
    server = Server(binary, directory / "data", *[part for setting in settings for part in ("--set", setting)])
    server.secrets, server.ca = secrets, str(directory / "data" / "tls" / "ca.pem")
    yield server
    server.stop()


def query(server, token, text=PRINCIPAL):
    answer = requests.post(f"{server.url}/v1/rest/query", json={"db": "NetDefaultDB", "csl": text}, verify=server.ca,
                           headers={"Authorization": f"Bearer {token}"} if token else {})
    return answer.json()["Tables"][0]["Rows"][0][0] if answer.status_code == 200 else answer.status_code


def test_without_signing_in_nothing_is_told(secured):
    assert query(secured, None) == 401
    assert query(secured, "meaningless") == 401
    assert requests.get(f"{secured.url}/healthz", verify=secured.ca).status_code == 200


def test_an_accounts_secret_is_its_key(secured):
    assert query(secured, secured.secrets["ci"]) == "aadapp=ci"
    assert query(secured, secured.secrets["ann"]) == "aaduser=ann"


def test_curl_gets_a_token_first_and_queries_then(secured):
    curl = ["curl", "-sS", "--fail-with-body", "--cacert", secured.ca]
    fields = ["grant_type=client_credentials", f"resource={secured.url}", "client_id=ci",
              f"client_secret={secured.secrets['ci']}"]
    form = [part for field in fields for part in ("-F", field)]
    answer = subprocess.run([*curl, f"{secured.url}/my-tenant/oauth2/token", *form], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    token = json.loads(answer.stdout)["access_token"]
    answer = subprocess.run(
        [*curl, f"{secured.url}/v2/rest/query", "-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json",
         "-d", json.dumps({"db": "NetDefaultDB", "csl": PRINCIPAL})], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    frames = json.loads(answer.stdout)
    assert [f["Rows"] for f in frames if f.get("TableKind") == "PrimaryResult"] == [[["aadapp=ci"]]]


def sdk(server, connect):
    """Runs the SDK in a process of its own, which trusts the server's authority."""
    program = textwrap.dedent("""
        from azure.kusto.data import KustoClient, KustoConnectionStringBuilder as Builder
        url, secret = {url!r}, {secret!r}
        client = KustoClient({connect})
        print(client.execute('NetDefaultDB', {text!r}).primary_results[0][0][0])
    """).format(url=server.url, secret=server.secrets["ci"], connect=connect, text=PRINCIPAL)
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": server.ca, "SSL_CERT_FILE": server.ca}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout.strip()


def test_the_sdk_signs_in_with_an_applications_id_and_key(secured):
    assert sdk(secured, "Builder.with_aad_application_key_authentication(url, 'ci', secret, 'adfs')") == "aadapp=ci"


def test_the_sdk_signs_in_with_a_ready_token(secured):
    assert sdk(secured, "Builder.with_aad_application_token_authentication(url, secret)") == "aadapp=ci"


def test_the_command_line_signs_in(secured):
    target = ["--url", secured.url, "--ca", secured.ca]
    answer = secured.cli("query", PRINCIPAL, "--format", "csv", *target, "--token", secured.secrets["ci"])
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[1] == "aadapp=ci"
    answer = secured.cli("query", PRINCIPAL, *target)
    assert answer.returncode == 1 and "give --token" in answer.stderr


def test_both_versions_of_http_are_offered_over_tls(secured):
    for version, expected in (("--http2", "2"), ("--http1.1", "1.1")):
        answer = subprocess.run(
            ["curl", "-sS", version, "--cacert", secured.ca, "-w", "\n%{http_version} %{http_code}", f"{secured.url}/v1/rest/query",
             "-H", f"Authorization: Bearer {secured.secrets['ci']}", "-H", "Content-Type: application/json", "--compressed",
             "-d", json.dumps({"db": "NetDefaultDB", "csl": "print x = 1"})], capture_output=True, text=True)
        body, status = answer.stdout.rsplit("\n", 1)
        assert status == f"{expected} 200", answer.stderr
        assert json.loads(body)["Tables"][0]["Rows"] == [[1]]


def test_a_page_signs_in_across_origins(secured):
    """What a browser sends for the public web UI: a preflight without a token, then the request with one."""
    ui = "https://dataexplorer.azure.com"
    preflight = requests.options(f"{secured.url}/v2/rest/query", verify=secured.ca, headers={
        "Origin": ui, "Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true",
        "Access-Control-Request-Headers": "authorization,content-type,x-ms-client-request-id"})
    assert preflight.status_code == 200 and preflight.headers["Access-Control-Allow-Origin"] == ui
    assert preflight.headers["Access-Control-Allow-Private-Network"] == "true"
    answer = requests.post(f"{secured.url}/v2/rest/query", json={"csl": "print 1"}, verify=secured.ca, headers={
        "Origin": ui, "Authorization": f"Bearer {secured.secrets['ann']}"})
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == ui
    assert "x-ms-activity-id" in answer.headers["Access-Control-Expose-Headers"]
    refused = requests.post(f"{secured.url}/v2/rest/query", json={"csl": "print 1"}, verify=secured.ca, headers={"Origin": ui})
    assert refused.status_code == 401 and refused.headers["Access-Control-Allow-Origin"] == ui
