"""Alert subscriptions: webhooks and a file that are told what became of queries and schedules."""
import http.server
import json
import threading
import time
import uuid

import pytest

from conftest import Server
from test_queries_api import BASE, Api


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(500 if len(self.server.seen) <= self.server.refuse else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.seen, server.refuse = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield server
    server.shutdown()


@pytest.fixture
def settings(tmp_path, hook):
    return ["--set", f"external_urls=http://127.0.0.1:{hook.server_port}/", "--set", f"alerts_file={tmp_path}/alerts.jsonl"]


@pytest.fixture
def told(request, tmp_path, settings):
    server = Server(request.config.getoption("--server"), tmp_path / "data", *settings)
    yield server
    server.stop()


def waited(seen, count):
    until = time.monotonic() + 30
    while time.monotonic() < until and len(seen) < count:
        time.sleep(0.05)
    return seen


def schedule(api, sql):
    body = {"query": {"dbName": "prod:all", "sql": sql}, "schedule": {"schedule": "0 0 1 1 *", "startDate": "2030-01-01T00:00:00Z"}}
    status, made = api.call("POST", f"{BASE}/schedules", body)
    assert status == 202, made
    return made["id"]


def subscribe(api, asset, kind, **subscriptions):
    status, alert = api.call("POST", f"{BASE}/alert-subscriptions", {"assetId": asset, "alertType": kind, "subscriptions": subscriptions})
    assert status == 200, alert
    return alert


def test_runs_of_a_schedule_are_told_and_sent_again(told, hook, tmp_path):
    api = Api(told.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    asset = schedule(api, "SELECT 1 AS x")
    hook.refuse = 1
    alert = subscribe(api, asset, "success", webhook=hook.url, emailIds=["a@b.c"])
    assert alert["id"].startswith("query_service_flow_run_success-") and alert["status"] == "enabled"
    assert alert["_links"]["enable"]["method"] == "PATCH" and asset in alert["_links"]["self"]["href"]
    assert api.call("POST", f"{BASE}/schedules/{asset}/runs")[0] == 202
    first, second = waited(hook.seen, 2)[:2]
    assert first == second and first["assetId"] == asset and first["state"] == "SUCCESS" and first["alertType"] == "success"
    lines = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [first], "the file has it once"
    path = f"{BASE}/alert-subscriptions/{asset}/success"
    assert api.call("PATCH", path, {"op": "replace", "path": "/status", "value": "disable"})[1]["status"] == "disabled"
    listed = api.call("GET", f"{BASE}/alert-subscriptions?property=status==disabled")[1]
    assert [item["id"] for item in listed["alerts"]] == [alert["id"]] and listed["_page"]["pageSize"] == 50
    assert api.call("GET", f"{BASE}/alert-subscriptions/user-subscriptions/a@b.c")[1]["items"][0]["id"] == alert["id"]
    assert api.call("POST", f"{BASE}/schedules/{asset}/runs")[0] == 202
    time.sleep(1)
    assert len(hook.seen) == 2, "a disabled alert tells nothing"
    assert api.call("DELETE", path)[1]["statusCode"] == 200
    assert api.call("GET", path)[0] == 404


def test_pages_of_alerts_follow_their_links(told, hook):
    api = Api(told.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    made = [subscribe(api, schedule(api, f"SELECT {n}"), kind)["id"] for n in range(3) for kind in ("start", "failure")]
    path, found = f"{BASE}/alert-subscriptions?pagesize=4&orderby=created", []
    while path:
        page = api.call("GET", path)[1]
        found += [alert["id"] for alert in page["alerts"]]
        path = page["_links"].get("next", {}).get("href")
    assert found == made
    failures = api.call("GET", f"{BASE}/alert-subscriptions?pagesize=2&property=alertType==failure")[1]
    assert len(failures["alerts"]) == 2 and "failure" in failures["_links"]["next"]["href"]
    assert len(api.call("GET", failures["_links"]["next"]["href"])[1]["alerts"]) == 1


def test_what_was_killed_is_told_after_the_restart(told, hook, settings):
    api = Api(told.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    slow = api.submit("SELECT count(*) FROM generate_series(1, 100000000000) AS t(v) WHERE v % 7 = 3")["id"]
    hook.refuse = 1
    subscribe(api, slow, "failure", webhook=hook.url)
    told.kill()
    told.start(*settings)
    first = waited(hook.seen, 1)[0]
    assert first["queryId"] == slow and first["state"] == "FAILED" and first["errors"][0]["code"] == "58000"
    # Killed before the receiver took it: it comes again.
    told.kill()
    told.start(*settings)
    assert waited(hook.seen, 2)[1] == first


def test_what_cannot_be_told_is_refused(told):
    api = Api(told.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    query = api.run("SELECT 1")["id"]
    wrong = ({"webhook": "http://10.0.0.1/x"}, {"webhook": "no address"}, {"webhook": 5}, {"emailIds": ["a"] * 6}, {"emailIds": [1]}, {"emailNotifications": "x"})
    for subscriptions in wrong:
        status, answer = api.call("POST", f"{BASE}/alert-subscriptions", {"assetId": query, "alertType": "start", "subscriptions": subscriptions})
        assert status == 400 and answer["statusCode"] == 400, answer
    assert api.call("POST", f"{BASE}/alert-subscriptions", {"assetId": "nope", "alertType": "start", "subscriptions": {}})[0] == 404
    assert api.call("POST", f"{BASE}/alert-subscriptions", {"assetId": query, "alertType": "end", "subscriptions": {}})[0] == 400
    assert api.call("GET", f"{BASE}/alert-subscriptions?property=nope==1")[0] == 400
    assert api.call("GET", f"{BASE}/alert-subscriptions")[1]["alerts"] == []
    subscribe(api, query, "start")
    other = Api(told.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    assert other.call("GET", f"{BASE}/alert-subscriptions/{query}/start")[0] == 404


def test_without_a_file_an_address_is_needed(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    query = api.run("SELECT 1")["id"]
    body = {"assetId": query, "alertType": "start", "subscriptions": {"emailIds": ["a@b.c"]}}
    assert api.call("POST", f"{BASE}/alert-subscriptions", body)[0] == 400
