"""Every refusal of the Query Service API: the exact document, its code and its status. Source: query-service-api sections 1 to 19."""
import json
import urllib.error
import urllib.request
import uuid

import pytest

from test_queries_api import BASE, Api

UNKNOWN = "00000000-0000-4000-8000-000000000000"
EXPECTED_CRON = "expected five cron fields, @once, @hourly, @daily, @weekly, @monthly or @yearly: it has another number of fields"
EXPECTED_PATCH = ('expected {"body": [{"op": "replace", "path": "/state", "value": "enable"}]}, "disable", or the path '
                  "/schedule/schedule with a cron expression")
EXPECTED_OP = 'expected a body {"op": "cancel"} or {"op": "soft_delete"}'
METHOD = "this method is not served at this address"
SQL = {"sql": "SELECT 1"}
DAILY = {"schedule": "@daily", "startDate": "2099-01-01T00:00:00Z"}


def answer(api, method, path, body=None, raw=None, **headers):
    """Status, document and headers; header names are written with underscores, None leaves one out."""
    data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
    sent = {**api.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(api.url + path, data, {k: v for k, v in sent.items() if v is not None}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as found:
            return found.status, json.loads(found.read() or b"null"), found.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null"), error.headers


def refused(api, status, message, method, path, body=None, raw=None, **more):
    """The whole document, and nothing beside it."""
    extra = more.pop("extra", {})
    found, document, headers = answer(api, method, BASE + path, body, raw, **more)
    assert (found, document) == (status, {"message": message, "statusCode": status, **extra})
    assert headers["Content-Type"].lower() == "application/json; charset=utf-8"


@pytest.fixture(scope="module")
def api(server):
    return Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})


@pytest.mark.parametrize("body, message", [
    ({}, "sql: expected a statement"),
    ({"sql": " \n"}, "sql: expected a statement"),
    ({"sql": 5}, "sql: expected a text"),
    ({"sql": None, "templateId": 5}, "templateId: expected a text"),
    ({**SQL, "name": 5}, "name: expected a text"),
    ({**SQL, "description": []}, "description: expected a text"),
    ({**SQL, "dbName": 1}, "dbName: expected a text"),
    ({**SQL, "dbName": "dev:all"}, "dbName: found the sandbox 'dev', expected 'prod' as in x-sandbox-name"),
    ({**SQL, "templateId": UNKNOWN}, "found both sql and templateId, expected one of them"),
    ({"templateId": UNKNOWN}, f"there is no query template '{UNKNOWN}'"),
    ({"templateID": UNKNOWN}, f"there is no query template '{UNKNOWN}'"),
    ({**SQL, "ctasParameters": {"datasetName": "a"}, "insertIntoParameters": {"datasetName": "a"}},
     "found both ctasParameters and insertIntoParameters, expected one of them"),
    ({**SQL, "ctasParameters": {}}, "ctasParameters.datasetName: expected a table's name"),
    ({**SQL, "ctasParameters": {"datasetName": " "}}, "ctasParameters.datasetName: expected a table's name"),
    ({**SQL, "insertIntoParameters": {"datasetName": ""}}, "insertIntoParameters.datasetName: expected a table's name"),
    ({**SQL, "ctasParameters": "x"}, "ctasParameters: expected an object"),
    ({"sql": "DROP TABLE x", "ctasParameters": {"datasetName": "a"}}, "ctasParameters and insertIntoParameters need a SELECT statement"),
    ({"sql": "SELECT $x", "queryParameters": {}}, "the placeholder '$x' has no value in queryParameters"),
    ({"sql": "SELECT $x", "queryParameters": []}, "queryParameters: expected an object"),
    ({"sql": "SELECT $x", "queryParameters": {"x": [1]}},
     "the value of the parameter 'x' is an array or object; expected a text, number, boolean or null"),
    ({"sql": "SELECT '$x'", "queryParameters": {"x": None}}, "the value of the parameter 'x' is null, which has no form inside quotes"),
    ({"sql": "SELECT $x", "queryParameters": {"x": "1; DROP TABLE t"}},
     "the value of the parameter 'x' must be one number, name or quoted text where it stands outside of quotes"),
    ({"sql": "SELECT $x", "queryParameters": {"x": "DISTINCT"}},
     "the value of the parameter 'x' is a word of the language; a column or table of that name stands in double quotes"),
    ({"sql": "SELECT E'$x'", "queryParameters": {"x": "\\' OR 1=1 --"}},
     "the values in queryParameters would change what the statement does"),
    ({"sql": "selec 1"}, "syntax error: Expected: an SQL statement, found: selec at Line: 1, Column: 1"),
    ({"sql": "UPDATE t SET a = 1"}, "the statement UPDATE t is not served yet"),
])
def test_a_submission_that_cannot_be_right_is_refused_and_not_recorded(api, body, message):
    count = len(answer(api, "GET", f"{BASE}/queries?limit=1000")[1]["queries"])
    refused(api, 400, message, "POST", "/queries", body)
    assert len(answer(api, "GET", f"{BASE}/queries?limit=1000")[1]["queries"]) == count


@pytest.mark.parametrize("raw, message", [
    (b"", "a body is required, found none"),
    (b"[1]", "found no JSON object as body, expected one"),
    (b"{sql: 1}", "the body is not JSON: key must be a string at line 1 column 2; keys and texts need double quotes, members a comma between them"),
    # The seed's own example, byte for byte: no quotes, no comma.
    (b'{\n "dbName": "{DB_NAME}",\n "sql": "SELECT * FROM {TABLE_NAME} WHERE user_id=$user_id;",\n "queryParameters": {\n  user_id : {USER_ID}\n }\n "name": "x"\n}',
     "the body is not JSON: key must be a string at line 5 column 3; keys and texts need double quotes, members a comma between them"),
    (b'{"sql": "\xff"}', "the body is not JSON: invalid unicode code point at line 1 column 10; keys and texts need double quotes, members a comma between them"),
])
def test_a_body_that_is_no_json_object_is_refused_with_its_place(api, raw, message):
    refused(api, 400, message, "POST", "/queries", raw=raw)


def test_the_media_type_is_read_up_to_a_comma(api):
    refused(api, 415, "found a body of type 'text/plain', expected application/json", "POST", "/queries", SQL, Content_Type="text/plain")
    for given in ("application/json,", "application/json; charset=utf-8", "Application/JSON"):
        assert answer(api, "POST", f"{BASE}/queries", SQL, Content_Type=given)[0] == 202


def test_headers_that_are_missing_have_the_gateways_codes(api):
    refused(api, 400, "the header x-gw-ims-org-id (the organisation) is missing", "GET", "/queries", x_gw_ims_org_id=None, extra={"error_code": "400003"})
    assert answer(api, "GET", f"{BASE}/queries", x_sandbox_name=None)[0] == 200


def test_a_request_id_comes_back_or_is_made(api):
    assert answer(api, "GET", f"{BASE}/queries", x_request_id="abc")[2]["x-request-id"] == "abc"
    assert uuid.UUID(answer(api, "GET", f"{BASE}/queries", x_request_id=None)[2]["x-request-id"])


@pytest.mark.parametrize("arguments, message", [
    ("orderby=name", "orderby: found 'name', expected created or updated, with - before it for the newest first"),
    ("limit=0", "limit: found '0', expected a number from 1 on"),
    ("limit=-1", "limit: found '-1', expected a number from 1 on"),
    ("limit=1.5", "limit: found '1.5', expected a number from 1 on"),
    ("limit=x", "limit: found 'x', expected a number from 1 on"),
    ("start=5", "start: found '5', expected a time such as 2020-09-07T00:00:00.000Z"),
    ("start=yesterday", "start: found 'yesterday', expected a time such as 2020-09-07T00:00:00.000Z"),
    ("start=2020-02-30", "start: found '2020-02-30', expected a time such as 2020-09-07T00:00:00.000Z"),
    ("isPrevLink=maybe", "isPrevLink: found 'maybe', expected true or false"),
    ("excludeSoftDeleted=2", "excludeSoftDeleted: found '2', expected true or false"),
    ("excludeHidden=x", "excludeHidden: found 'x', expected true or false"),
    ("property=", "property: the filter '' has no operator"),
    ("property=state", "property: the filter 'state' has no operator"),
    ("property=state~S,", "property: the filter '' has no operator"),
    ("property=state%3D%3D", "property: the filter 'state==' has no value"),
    ("property=sql~", "property: the filter 'sql~' has no value"),
    ("property=nope==1", "property: the filter 'nope==1' names an unknown field"),
    ("property=userId%3E1", "property: the filter 'userId>1' has an operator that the field does not take"),
    ("property=sql==x", "property: the filter 'sql==x' has an operator that the field does not take"),
    ("property=templateName==x", "property: the filter 'templateName==x' has an operator that the field does not take"),
    ("property=created%3Ex", "property: the filter 'created>x' has no readable time"),
    ("property=state==SUCCESS&property=id", "property: the filter 'id' has no operator"),
    ("property=sql~a,sql~b", "property: 'sql' can be asked for once"),
    ("property=sql~a&property=SQL~b", "property: 'sql' can be asked for once"),
    ("property=templateName~a,templateName~b", "property: 'templateName' can be asked for once"),
    ("property=referenced_datasets==" + "||".join("a" * 11),
     "property: the filter 'referenced_datasets==" + "||".join("a" * 11) + "' names more than 10 datasets"),
])
def test_a_list_is_refused_by_the_name_of_what_is_wrong(api, arguments, message):
    refused(api, 400, message, "GET", f"/queries?{arguments}")


@pytest.mark.parametrize("arguments", [
    "orderby=", "limit=", "start=", "isPrevLink=", "isPrevLink=True", "excludeSoftDeleted=FALSE", "limit=5000", "orderby=%2Bcreated", "orderby=+updated",
    "start=2020-09-07", "start=2020-09-07T10:00:00+05:00", "start=2020-09-07T10:00:00-05:00", "start=2020-09-07T10:00:00.1234567Z", "unknown=1",
    "property=referenced_datasets==" + "||".join("a" * 10), "property=created%26gt;2020-01-01", "property=userId=x",
])
def test_what_clients_send_is_taken(api, arguments):
    status, page, _ = answer(api, "GET", f"{BASE}/queries?{arguments}")
    assert status == 200 and set(page) == {"queries", "_page", "_links", "version"}


def test_a_query_that_is_not_there_is_not_found_however_it_is_asked_for(api, server):
    done = api.run("SELECT 1 AS x")
    path = f"/queries/{done['id']}"
    for name in ("nope", UNKNOWN):
        message = f"there is no query '{name}'"
        refused(api, 404, message, "GET", f"/queries/{name}")
        refused(api, 404, message, "PATCH", f"/queries/{name}", {"op": "cancel"})
        refused(api, 404, message, "PATCH", f"/queries/{name}", {"op": "soft_delete"})
        refused(api, 404, message, "DELETE", f"/queries/{name}")
        refused(api, 404, message, "GET", f"/queries/{name}/results")
    message = f"there is no query '{done['id']}'"
    for header in ({"x_gw_ims_org_id": "another"}, {"x_sandbox_name": "dev"}):
        refused(api, 404, message, "GET", path, **header)
        refused(api, 404, message, "PATCH", path, {"op": "soft_delete"}, **header)
        refused(api, 404, message, "GET", path + "/results", **header)
    # Another key of the organisation sees it.
    assert answer(api, "GET", BASE + path, x_api_key="another")[0] == 200
    assert answer(api, "PATCH", BASE + path, {"op": "soft_delete"})[:2] == (202, {"message": "Query soft delete request received", "statusCode": 202})
    assert answer(api, "PATCH", BASE + path, {"op": "soft_delete"})[0] == 202
    refused(api, 404, message, "GET", path)
    refused(api, 404, message, "GET", path + "/results")
    assert answer(api, "GET", BASE + path + "?excludeSoftDeleted=false")[0] == 200


def test_a_change_needs_a_body_that_names_it(api):
    done = api.run("SELECT 1 AS x")
    path = f"/queries/{done['id']}"
    refused(api, 400, "a body is required, found none", "PATCH", path, raw=b"")
    refused(api, 400, EXPECTED_OP, "PATCH", path, {})
    refused(api, 400, EXPECTED_OP, "PATCH", path, [{"op": "cancel"}, {"op": "cancel"}])
    refused(api, 400, "op: found 'nope', expected cancel or soft_delete", "PATCH", path, {"op": "nope"})
    for body in ({"op": "cancel"}, {"op": "cancel "}, [{"op": "cancel"}]):
        refused(api, 409, f"the query '{done['id']}' has ended already", "PATCH", path, body)
    assert api.get(done["id"])[1] == done, "a cancel that comes too late changes nothing"


def test_results_are_refused_by_state_and_argument(api):
    done = api.run("SELECT 1 AS x")
    failed = api.run("SELECT * FROM no_such_table")
    refused(api, 409, f"the query '{failed['id']}' is FAILED; only one in SUCCESS has rows", "GET", f"/queries/{failed['id']}/results")
    refused(api, 400, "format: found 'xml', expected json, ndjson, csv, arrow, arrow-file or parquet", "GET", f"/queries/{done['id']}/results?format=xml")
    refused(api, 400, "offset: found '-1', expected a number from 0 on", "GET", f"/queries/{done['id']}/results?offset=-1")


def test_methods_and_addresses_that_are_not_served(api):
    for method, path in (("PUT", "/queries"), ("POST", f"/queries/{UNKNOWN}"), ("PATCH", "/query-templates/x"), ("POST", "/query-templates/x"),
                         ("GET", "/accelerated-queries"), ("DELETE", "/schedules")):
        refused(api, 405, METHOD, method, path)
    for path in ("/nope", "/statistics?dataSet=1&statisticType=x", "/queries/a/b/c"):
        refused(api, 404, f"nothing is served at GET {BASE}{path.split('?')[0]}", "GET", path)
    assert answer(api, "GET", f"{BASE}/queries/")[0] == 200


def test_templates_are_refused(api):
    for body, message in (({}, "sql: expected a text, found none"), ({"sql": "SELECT 1"}, "name: expected a text, found none"),
                          ({"name": "x"}, "sql: expected a text, found none"), ({"name": "x", "sql": 5}, "sql: expected a text"),
                          ({"name": "x", "sql": "SELECT 1", "queryParameters": 5}, "queryParameters: expected an object")):
        refused(api, 400, message, "POST", "/query-templates", body)
    message = f"there is no query template '{UNKNOWN}'"
    refused(api, 404, message, "GET", f"/query-templates/{UNKNOWN}")
    refused(api, 404, message, "PUT", f"/query-templates/{UNKNOWN}", {"sql": "SELECT 1", "name": "x"})
    refused(api, 404, message, "DELETE", f"/query-templates/{UNKNOWN}")
    refused(api, 400, "property: the filter 'nope==1' names an unknown field", "GET", "/query-templates?property=nope==1")
    refused(api, 404, message, "GET", f"/query-templates/{UNKNOWN}", x_gw_ims_org_id="another")


def test_schedules_are_refused(api):
    start = "2099-01-01T00:00:00Z"
    for body, message in (
        ({}, "query: expected an object as for POST /queries"),
        ({"schedule": DAILY}, "query: expected an object as for POST /queries"),
        ({"query": SQL}, "schedule: expected an object with schedule and startDate"),
        ({"query": SQL, "schedule": {"schedule": "* * *", "startDate": start}}, f"schedule.schedule: found '* * *', {EXPECTED_CRON}"),
        ({"query": SQL, "schedule": {"schedule": "@daily"}}, "schedule.startDate: expected a time"),
        ({"query": SQL, "schedule": {"schedule": "@daily", "startDate": "x"}}, "schedule.startDate: found 'x', expected a time such as 2026-01-01T00:00:00Z"),
        ({"query": SQL, "schedule": {**DAILY, "endDate": "2029-01-01T00:00:00Z"}}, "schedule.endDate: is before startDate"),
        ({"query": SQL, "schedule": {**DAILY, "maxActiveRuns": 0}}, "schedule.maxActiveRuns: found 0, expected a number from 1 on"),
        ({"query": {"sql": "selec"}, "schedule": DAILY}, "syntax error: Expected: an SQL statement, found: selec at Line: 1, Column: 1"),
    ):
        refused(api, 400, message, "POST", "/schedules", body)
    status, schedule, _ = answer(api, "POST", f"{BASE}/schedules", {"query": SQL, "schedule": DAILY})
    assert status == 202 and schedule["state"] == "REGISTERING"
    path = f"/schedules/{schedule['id']}"
    refused(api, 400, "the schedule is ENABLED already", "PATCH", path, {"body": [{"op": "replace", "path": "/state", "value": "enable"}]})
    refused(api, 400, "an enabled schedule cannot be deleted; disable it first", "DELETE", path)
    for operation in ({"op": "replace", "path": "/nope", "value": "enable"}, {"op": "add", "path": "/state", "value": "enable"},
                      {"op": "replace", "path": "/state", "value": "x"}):
        told = ", ".join(f"{name} '{operation[name]}'" for name in ("op", "path", "value"))
        refused(api, 400, f"found {told}; {EXPECTED_PATCH}", "PATCH", path, {"body": [operation]})
    refused(api, 400, f"schedule.schedule: found 'x', {EXPECTED_CRON}", "PATCH", path, {"body": [{"op": "replace", "path": "/schedule/schedule", "value": "x"}]})
    assert answer(api, "PATCH", BASE + path, [{"op": "replace", "path": "/state", "value": "disable"}])[:2] == (
        202, {"message": "Request to patch accepted", "statusCode": 202})
    refused(api, 400, "the schedule is DISABLED already", "PATCH", path, {"op": "disable"})
    refused(api, 400, "the schedule is disabled", "POST", path + "/runs")
    refused(api, 404, "there is no run 'nope' of this schedule", "GET", path + "/runs/nope")
    refused(api, 404, "there is no run 'nope' of this schedule", "PATCH", path + "/runs/nope", {"op": "cancel"})
    refused(api, 400, 'expected a body {"op": "cancel"}', "PATCH", path + "/runs/nope", {"op": "x"})
    refused(api, 400, "property: the filter 'state==1' names an unknown field", "GET", "/schedules?property=state==1")
    refused(api, 400, "property: the filter 'created==1' has an operator that the field does not take", "GET", path + "/runs?property=created==1")
    assert answer(api, "DELETE", BASE + path)[0] == 202
    message = f"there is no schedule '{schedule['id']}'"
    for method, tail, body in (("GET", "", None), ("PATCH", "", {"op": "enable"}), ("DELETE", "", None), ("GET", "/runs", None), ("POST", "/runs", None)):
        refused(api, 404, message, method, path + tail, body)


def test_accelerated_queries_are_refused(api):
    place = {"dbName": "prod:all:x"}
    refused(api, 400, "dbName: expected sandbox:database", "POST", "/accelerated-queries", SQL)
    refused(api, 400, "found both sql and templateId, expected one of them", "POST", "/accelerated-queries", {**place, **SQL, "templateId": "x"})
    refused(api, 400, "a statement that writes is not taken here; submit it under /queries", "POST", "/accelerated-queries", {**place, "sql": "CREATE TABLE x AS SELECT 1"})
    refused(api, 400, "description: more than 1000 bytes", "POST", "/accelerated-queries", {**place, **SQL, "description": "x" * 1001})
    refused(api, 400, "the statement has 1000013 bytes, more than the limit of 1000000", "POST", "/accelerated-queries", {**place, "sql": "SELECT 1 -- " + "x" * 1000001})
    for sql, code, message in (("SELECT * FROM nope", "42P01", "the table 'nope' does not exist"), ("SELECT 1/0", "22012", "division by zero")):
        status, document, _ = answer(api, "POST", f"{BASE}/accelerated-queries", {**place, "sql": sql})
        identity = document.pop("queryId")
        assert (status, document) == (400, {"message": message, "statusCode": 400, "errors": [{"code": code, "message": message, "errorType": "USER_ERROR"}]})
        assert api.get(identity)[1]["errors"] == document["errors"]


def test_alert_subscriptions_are_refused(api):
    asset = api.run("SELECT 1 AS x")["id"]
    mail = {"emailIds": ["a@example.org"]}
    for status, body, message in (
        (400, {}, "assetId: expected a text"),
        (400, {"assetId": asset, "alertType": "nope", "subscriptions": mail}, "alertType: found 'nope', expected start, success or failure"),
        (404, {"assetId": "nope", "alertType": "start", "subscriptions": mail}, "there is no query or schedule 'nope'"),
        (400, {"assetId": asset, "alertType": "start", "subscriptions": {"emailIds": mail["emailIds"] * 6}}, "subscriptions.emailIds: expected at most 5 texts"),
    ):
        refused(api, status, message, "POST", "/alert-subscriptions", body)
    missing = "'nope' has no alert of type 'start'"
    refused(api, 404, missing, "GET", "/alert-subscriptions/nope/start")
    refused(api, 404, missing, "DELETE", "/alert-subscriptions/nope/start")
    refused(api, 404, missing, "PATCH", "/alert-subscriptions/nope/start", {"op": "replace", "path": "/status", "value": "enable"})
    refused(api, 404, "'nope' has no alerts", "GET", "/alert-subscriptions/nope")
    refused(api, 400, "page: expected a number from 0 on", "GET", "/alert-subscriptions?page=-1")


def test_a_key_of_a_submission_stands_for_one_body(api):
    key = str(uuid.uuid4())
    first = answer(api, "POST", f"{BASE}/queries", SQL, Idempotency_Key=key)[1]
    assert answer(api, "POST", f"{BASE}/queries", SQL, Idempotency_Key=key)[1]["id"] == first["id"]
    refused(api, 409, "the Idempotency-Key was used with another body", "POST", "/queries", {"sql": "SELECT 2"}, Idempotency_Key=key)


def test_a_dry_run_is_refused_like_the_query_and_records_nothing(api):
    refused(api, 400, "dryRun: found 'x', expected true or false", "POST", "/queries?dryRun=x", SQL)
    refused(api, 400, "the table 'nope' does not exist", "POST", "/queries?dryRun=true", {"sql": "SELECT * FROM nope"})


@pytest.mark.parametrize("sql, code, kind", [
    ("SELECT * FROM no_such_table", "42P01", "USER_ERROR"),
    ("SELECT * FROM nodb.t", "42P01", "USER_ERROR"),
    ("SELECT nope FROM (SELECT 1 AS x)", "42703", "USER_ERROR"),
    ("SELECT 1/0", "22012", "USER_ERROR"),
    ("SELECT CAST('x' AS BIGINT)", "22P02", "USER_ERROR"),
    ("INSERT INTO no_such_table SELECT 1", "42P01", "USER_ERROR"),
    ("CREATE TABLE Taken{n} AS SELECT 1 AS x; CREATE TABLE Taken{n} AS SELECT 1 AS x", "42P07", "USER_ERROR"),
    ("CREATE TABLE Typed{n} AS SELECT true AS x; INSERT INTO Typed{n} SELECT 'a'", "42804", "USER_ERROR"),
    ("CREATE TABLE Wide{n} AS SELECT 1 AS x; INSERT INTO Wide{n} SELECT 1, 2", "42601", "USER_ERROR"),
    ("DROP TABLE no_such_table", "42P01", "USER_ERROR"),
    ("DROP VIEW no_such_view", "42P01", "USER_ERROR"),
])
def test_what_needs_the_catalog_or_the_data_ends_failed_with_its_code(api, sql, code, kind):
    done = api.run(sql.replace("{n}", uuid.uuid4().hex[:8]))
    assert done["state"] == "FAILED" and done["rowCount"] == 0
    assert [(error["code"], error["errorType"]) for error in done["errors"]] == [(code, kind)] and set(done["errors"][0]) == {"code", "message", "errorType"}
