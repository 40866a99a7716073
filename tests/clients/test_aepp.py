"""`aepp`, the public Python client of Adobe's service, pointed at this server by its configuration alone."""
import re
import time
import uuid

import pytest

from conftest import Server

aepp = pytest.importorskip("aepp")
from aepp import queryservice  # noqa: E402

ENDED = {"SUCCESS", "FAILED", "KILLED", "TIMEOUT"}


@pytest.fixture(scope="module")
def home(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aepp")
    server = Server(request.config.getoption("--server"), folder / "data", "--set", "postgres_listen=127.0.0.1:0", "--set", f"alerts_file={folder}/alerts.jsonl")
    line = server.process.stdout.readline()
    server.port = int(re.search(r"served on 127.0.0.1:(\d+)", line).group(1))
    yield server
    server.stop()


@pytest.fixture
def service(home, monkeypatch):
    monkeypatch.setitem(aepp.config.endpoints, "global", home.url)
    organisation = f"{uuid.uuid4()}@AdobeOrg"
    config = dict(aepp.config.config_object)
    config.update(org_id=organisation, client_id="key", sandbox="prod", token="any", date_limit=time.time() + 86400,
                  connectionType="oauthV2", scopes="x", secret="s", environment="prod", retry=0)
    header = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer any",
              "x-api-key": "key", "x-gw-ims-org-id": organisation, "x-sandbox-name": "prod"}
    return queryservice.QueryService(config=config, header=header)


def ended(service, identity):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        query = service.getQuery(identity)
        if query["state"] in ENDED:
            return query
        time.sleep(0.05)
    raise AssertionError("the query did not end")


def test_queries_are_created_listed_cancelled_and_deleted(service):
    made = [service.postQueries(name=f"n{n}", sql=f"SELECT {n} AS x")["id"] for n in range(5)]
    assert [ended(service, identity)["state"] for identity in made] == ["SUCCESS"] * 5
    assert [query["id"] for query in service.getQueries(limit=2)] == made[::-1], "five pages' links were followed"
    assert [query["id"] for query in service.getQueries(orderby="created", limit=2)] == made
    slow = service.createQuery(name="slow", sql="SELECT count(*) FROM generate_series(1, 100000000000) AS t(v) WHERE v % 7 = 3")["id"]
    assert service.cancelQuery(slow)["statusCode"] == 202
    assert ended(service, slow)["state"] == "KILLED"
    service.deleteQuery(slow)
    assert slow not in [query["id"] for query in service.getQueries()]
    assert service.getQuery("nope")["statusCode"] == 404
    assert service.postQueries(name="n", sql="SELEC 1")["statusCode"] == 400


def test_a_table_is_made_and_filled(service):
    name = "t" + uuid.uuid4().hex[:8]
    made = service.postQueries(name="n", sql="SELECT 1 AS x", ctasParameters={"datasetName": name, "description": "d"})
    made = ended(service, made["id"])
    assert made["state"] == "SUCCESS" and made["isCTAS"] and made["rowCount"] == 1
    more = ended(service, service.postQueries(name="n", sql="SELECT 2 AS x", insertIntoParameters={"datasetName": name})["id"])
    assert more["state"] == "SUCCESS" and more["isInsertInto"] and more["rowCount"] == 1
    assert ended(service, service.postQueries(name="n", sql=f"SELECT * FROM {name}")["id"])["rowCount"] == 2


def test_templates_are_kept_and_used(service):
    template = service.createQueryTemplate(name="t", sql="SELECT '$word' AS w", queryParameters={"word": "a"})
    assert service.getTemplate(template["id"])["name"] == "t"
    assert [item["id"] for item in service.getTemplates()] == [template["id"]]
    query = service.postQueries(name="n", templateId=template["id"], queryParameters={"word": "b"})
    query = ended(service, query["id"])
    assert query["state"] == "SUCCESS" and query["effectiveSQL"] == "SELECT 'b' AS w" and query["templateName"] == "t"
    service.deleteTemplate(template["id"])
    assert service.getTemplates() == []


def test_schedules_run_and_are_switched(service):
    times = {"schedule": "0 0 1 1 *", "startDate": "2030-01-01T00:00:00Z"}
    made = service.createSchedule(name="s", sql="SELECT 1 AS x", schedule=times)
    identity = made["id"]
    assert made["state"] == "REGISTERING" and service.getSchedule(identity)["state"] == "ENABLED"
    assert [item["id"] for item in service.getSchedules()] == [identity]
    assert service.connector.postData(f"{service.endpoint}/schedules/{identity}/runs", data={})["statusCode"] == 202
    until = time.monotonic() + 30
    while time.monotonic() < until:
        runs = service.getScheduleRuns(identity)
        if runs and runs[0]["state"] != "IN_PROGRESS":
            break
        time.sleep(0.05)
    assert [run["state"] for run in runs] == ["SUCCESS"]
    assert service.getScheduleRun(identity, runs[0]["id"])["scheduleId"] == identity
    change = [{"op": "replace", "path": "/schedule/schedule", "value": "0 1 1 1 *"}]
    assert service.updateSchedule(identity, change)["statusCode"] == 202
    assert service.getSchedule(identity)["schedule"]["schedule"] == "0 1 1 1 *"
    assert service.disableSchedule(identity)["statusCode"] == 202
    assert service.disableSchedule(identity)["statusCode"] == 400
    assert service.enableSchedule(identity)["statusCode"] == 202
    service.disableSchedule(identity)
    service.deleteSchedule(identity)
    assert service.getSchedules() == []


def test_alerts_are_subscribed_to(service):
    query = service.postQueries(name="n", sql="SELECT 1")["id"]
    alert = service.createAlertSubscription(query, "failure", ["a@b.c"])
    assert alert["id"].startswith("query_service_flow_run_failure-")
    assert [item["id"] for item in service.getAlertSubscriptions()] == [alert["id"]]
    assert [item["id"] for item in service.getAlertSubscriptionsTypeId(query)] == [alert["id"]]
    assert [item["id"] for item in service.getAlertSubscriptionsTypeId(query, "failure")] == [alert["id"]]
    assert [item["id"] for item in service.getUserAlerts("a@b.c")] == [alert["id"]]
    assert service.patchAlert(query, "failure")["status"] == "disabled"
    assert service.patchAlert(query, "failure", "enable")["status"] == "enabled"
    service.deleteAlertSubscription(query, "failure")
    assert service.getAlertSubscriptions() == []


def test_accelerated_queries_answer_with_rows(service):
    answer = service.createAcceleratedQuery(name="n", dbName="prod:all:public", sql="SELECT 1 AS a, 'x' AS b")
    assert answer["results"] == [{"a": 1, "b": "x"}]
    assert list(answer["resultsMeta"]["_adhoc"]["properties"]) == ["a", "b"]


def test_the_connection_that_it_is_told_connects(service, home):
    psycopg = pytest.importorskip("psycopg")
    told = service.connection()
    assert told["port"] == home.port
    with psycopg.connect(host=told["host"], port=told["port"], user=told["username"], dbname=told["dbName"], password=told["token"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
