"""Schedules of SQL jobs and their runs over HTTP."""
import datetime
import json
import time
import uuid

import pytest

from test_queries_api import BASE, Api
from test_query_results import fetch

SLOW = "SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x % 7 = b.y % 7"


def iso(seconds):
    """So many seconds from now."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def until(found, what):
    """Polls until `found` gives something; bounded."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if value := found():
            return value
    raise AssertionError(f"{what} did not happen")


@pytest.fixture
def api(server):
    return Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})


def create(api, sql="SELECT 1 AS x", cron="@yearly", start=None, **more):
    query = {"dbName": "prod:all", "sql": sql, "name": "scheduled"}
    status, made = api.call("POST", f"{BASE}/schedules", {"query": query, "schedule": {"schedule": cron, "startDate": start or iso(-3600), **more}})
    assert status == 202, made
    return made


def runs(api, schedule, arguments=""):
    return api.call("GET", f"{BASE}/schedules/{schedule}/runs{arguments}")[1]["runsSchedules"]


def test_a_schedule_registers_and_shows_when_it_runs_next(api):
    made = create(api, cron="0 9 * * *", timeZone="Europe/Berlin")
    assert list(made) == ["id", "state", "query", "schedule", "userId", "updatedUserId", "version", "_links"]
    assert made["state"] == "REGISTERING" and made["version"] == 2 and made["schedule"]["maxActiveRuns"] == 1
    assert set(made["_links"]) == {"self", "enable", "disable", "delete", "runs", "trigger"}
    shown = api.call("GET", f"{BASE}/schedules/{made['id']}")[1]
    assert shown["state"] == "ENABLED" and shown["nextRun"] > iso(0) and shown["nextRun"][11:] in ("07:00:00.000Z", "08:00:00.000Z")
    assert shown["nextRuns"][0] == shown["nextRun"] and len(shown["nextRuns"]) == 5
    assert shown["nextRuns"] == sorted(set(shown["nextRuns"])) and {at[11:13] for at in shown["nextRuns"]} <= {"07", "08"}
    listed = api.call("GET", f"{BASE}/schedules")[1]
    assert [schedule["id"] for schedule in listed["schedules"]] == [made["id"]] and listed["_page"]["count"] == 1
    assert api.call("GET", f"{BASE}/schedules/{uuid.uuid4()}")[0] == 404


def test_a_due_schedule_runs_once_as_a_query(api):
    made = create(api, sql="SELECT '$schedule_time' AS t", cron="@once", start=iso(-60))
    run = until(lambda: [run for run in runs(api, made["id"]) if run["state"] == "SUCCESS"], "the run")[0]
    assert run["externalTrigger"] is False and list(run) == ["state", "version", "id", "externalTrigger", "created", "_links"]
    status, detail = api.call("GET", f"{BASE}/schedules/{made['id']}/runs/{run['id']}")
    task = detail["taskStatusList"][0]
    assert detail["scheduleId"] == made["id"] and task["state"] == "SUCCESS" and task["message"] == ""
    query = api.get(task["taskId"])[1]
    assert query["_links"]["schedule"]["id"] == made["id"] and query["_links"]["schedule_run"]["id"] == run["id"] and query["client"] == "SCHEDULER"
    rows = json.loads(fetch(api, query["_links"]["results"]["href"])[2])["rows"]
    assert rows == [{"t": made["schedule"]["startDate"][:19] + "Z"}]
    assert [query["id"] for query in api.call("GET", f"{BASE}/queries?property=scheduleId=={made['id']}")[1]["queries"]] == [task["taskId"]]
    assert api.call("GET", f"{BASE}/schedules/{made['id']}")[1]["nextRun"] is None and len(runs(api, made["id"])) == 1


def test_runs_are_triggered_cancelled_and_filtered(api):
    made = create(api, sql=SLOW)
    path = f"{BASE}/schedules/{made['id']}/runs"
    assert api.call("POST", path) == (202, {"message": "Request to trigger run of a scheduled query accepted.", "statusCode": 202})
    assert api.call("POST", path)[0] == 400, "one active run is the limit"
    run = runs(api, made["id"])[0]
    assert run["state"] == "IN_PROGRESS" and run["externalTrigger"] is True
    assert api.call("PATCH", f"{path}/{run['id']}", {"op": "nope"})[0] == 400
    status, answer = api.call("PATCH", f"{path}/{run['id']}", {"op": "cancel"})
    assert (status, answer["message"]) == (202, "Request to cancel run of a scheduled query accepted")
    until(lambda: runs(api, made["id"], "?property=state==FAILED"), "the end of the run")
    assert runs(api, made["id"], "?property=state!=FAILED") == [] and len(runs(api, made["id"], "?property=externalTrigger==true")) == 1
    assert api.call("PATCH", f"{path}/{run['id']}", {"op": "cancel"})[0] == 409
    assert api.call("GET", f"{path}/{uuid.uuid4()}")[0] == 404


def test_a_schedule_is_disabled_changed_and_deleted(api):
    made = create(api)
    path = f"{BASE}/schedules/{made['id']}"
    replace = lambda where, value: {"body": [{"op": "replace", "path": where, "value": value}]}
    assert api.call("PATCH", path, replace("/state", "enable"))[0] == 400, "it is enabled already"
    assert api.call("DELETE", path)[0] == 400, "it is enabled"
    assert api.call("PATCH", path, replace("/state", "disable")) == (202, {"message": "Request to patch accepted", "statusCode": 202})
    assert api.call("POST", f"{path}/runs")[0] == 400, "it is disabled"
    assert api.call("PATCH", path, [{"op": "replace", "path": "/schedule/schedule", "value": "@daily"}])[0] == 202
    assert api.call("PATCH", path, replace("/schedule/schedule", "99 * * * *"))[0] == 400
    shown = api.call("GET", path)[1]
    assert (shown["state"], shown["schedule"]["schedule"], shown["nextRun"]) == ("DISABLED", "@daily", None)
    assert shown["nextRuns"] == []
    assert api.call("PATCH", path, {"op": "enable"})[0] == 202 and api.call("GET", path)[1]["nextRun"].endswith("T00:00:00.000Z")
    assert api.call("PATCH", path, {"op": "disable"})[0] == 202 and api.call("DELETE", path)[0] == 202
    assert api.call("GET", path)[0] == 404 and api.call("DELETE", path)[0] == 404


@pytest.mark.parametrize("change", [{"schedule": "* * * *"}, {"startDate": "soon"}, {"startDate": None}, {"timeZone": "Mars/Base"},
                                    {"maxActiveRuns": 0}, {"catchUp": "some"}, {"endDate": "2000-01-01"}])
def test_times_that_cannot_be_followed_are_refused(api, change):
    times = {"schedule": "@daily", "startDate": "2026-01-01T00:00:00Z", **change}
    assert api.call("POST", f"{BASE}/schedules", {"query": {"sql": "SELECT 1"}, "schedule": times})[0] == 400


def test_a_query_that_cannot_run_is_refused(api):
    times = {"schedule": "@daily", "startDate": "2026-01-01T00:00:00Z"}
    for query in (None, {}, {"sql": "SELEC"}, {"templateId": "x"}, {"sql": "SELECT '$a'", "queryParameters": {}}):
        assert api.call("POST", f"{BASE}/schedules", {"query": query, "schedule": times})[0] == 400


def test_schedules_survive_a_kill_and_never_run_a_time_twice(own_server):
    api = Api(own_server.url)
    made = create(api, sql=SLOW, cron="@once", start=iso(-1))
    until(lambda: runs(api, made["id"]), "the run")
    own_server.kill()
    own_server.start()
    api = Api(own_server.url)
    states = [run["state"] for run in runs(api, made["id"])]
    assert states == ["FAILED"]
    again = create(api, cron="@once", start=iso(-1))
    until(lambda: [run for run in runs(api, again["id"]) if run["state"] == "SUCCESS"], "the other run")
    assert len(runs(api, made["id"])) == 1
