"""The REST interface as clients use it, section by section of what they need: commands they run and what they read,
request properties in every form they send, values, small endpoints."""
import datetime
import gzip
import json
import urllib.parse

import pytest
import requests

DB = "NetDefaultDB"


def post(server, path, text, db=DB, options=None, parameters=None, headers=None):
    body = {"db": db, "csl": text}
    if options is not None or parameters is not None:
        body["properties"] = {"Options": options or {}, "Parameters": parameters or {}}
    return requests.post(server.url + path, json=body, headers=headers)


def table(server, text, db=DB):
    answer = post(server, "/v1/rest/mgmt", text, db)
    assert answer.status_code == 200, answer.text
    return answer.json()["Tables"][0]


def names(found):
    return [column["ColumnName"] for column in found["Columns"]]


def rows(server, text, **more):
    answer = post(server, "/v1/rest/query", text, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["Tables"][0]["Rows"]


@pytest.fixture(scope="module", autouse=True)
def entities(server):
    for text in (".create table RestT (a: long, s: string, t: datetime, j: dynamic)",
                 ".create function RestF(x: long) { RestT | where a > x }", ".create function RestG() { RestT }",
                 ".ingest inline into table RestT <| 1,one,2020-01-01,\"{\"\"k\"\":1}\"\n2,two,2020-01-02,"):
        table(server, text)
    yield
    for text in (".drop function RestF", ".drop function RestG", ".drop table RestT"):
        table(server, text)


SHOWN = [
    (".show version", ["BuildVersion", "BuildTime", "ServiceType", "ProductVersion"]),
    (".show databases", ["DatabaseName", "PersistentStorage", "Version", "IsCurrent", "DatabaseAccessMode", "PrettyName"]),
    (f".show database ['{DB}'] schema", ["DatabaseName", "TableName", "ColumnName", "ColumnType", "IsDefaultTable",
                                         "IsDefaultColumn", "PrettyName", "Version", "Folder", "DocString"]),
    (f".show database {DB} schema as json", ["DatabaseSchema"]),
    (".show schema as json", ["DatabaseSchema"]),
    (".show databases schema as json", ["DatabaseSchema"]),
    (f".show databases (['{DB}']) schema as json", ["DatabaseSchema"]),
    ("\n  .show tables", ["TableName", "DatabaseName", "Folder", "DocString"]),
    (".show table RestT cslschema", ["TableName", "Schema", "DatabaseName", "Folder", "DocString"]),
    (".show table RestT schema as json", ["TableName", "Schema", "DatabaseName", "Folder", "DocString"]),
    (".show table RestT", ["AttributeName", "AttributeType"]),
    (".show table RestT details", ["TableName", "DatabaseName"]),
    (".show functions", ["Name", "Parameters", "Body", "Folder", "DocString"]),
    (".show function RestF schema as json", ["TableName", "Schema", "DatabaseName", "Folder", "DocString"]),
    (".show materialized-views | project Name", ["Name"]),
    (".show databases entities with (showObfuscatedStrings=true) | where EntityType == 'Table' | project EntityName", ["EntityName"]),
    (".show databases entities", ["DatabaseName", "EntityType", "EntityName", "DocString", "Folder", "CslInputSchema",
                                  "Content", "CslOutputSchema", "Properties"]),
    (f".show database {DB} policy retention | project ChildEntities, EntityType", ["ChildEntities", "EntityType"]),
]


@pytest.mark.parametrize("text, columns", SHOWN, ids=[text.strip() for text, _ in SHOWN])
def test_a_command_that_clients_run_has_the_columns_they_read(server, text, columns):
    found = names(table(server, text))
    assert found[:len(columns)] == columns or set(columns) <= set(found), found
    if text.strip() in (".show version", ".show databases", "\n  .show tables"):
        assert found[:len(columns)] == columns


def test_the_values_that_clients_look_at(server):
    version = table(server, ".show version", db="")
    assert dict(zip(names(version), version["Rows"][0]))["ServiceType"] == "Engine"
    databases = table(server, ".show databases", db=None)
    assert DB in [row[0] for row in databases["Rows"]] and isinstance(databases["Rows"][0][5], (str, type(None)))
    schema = json.loads(table(server, ".show databases schema as json", db="")["Rows"][0][0])
    columns = schema["Databases"][DB]["Tables"]["RestT"]["OrderedColumns"]
    assert [(c["Name"], c["Type"], c["CslType"]) for c in columns] == [
        ("a", "System.Int64", "long"), ("s", "System.String", "string"), ("t", "System.DateTime", "datetime"),
        ("j", "System.Object", "dynamic")]
    function = schema["Databases"][DB]["Functions"]["RestF"]
    assert function["InputParameters"][0]["CslType"] == "long" and function["FunctionKind"] == "Unknown"
    assert [row[1] for row in table(server, ".show table RestT")["Rows"]] == ["I64", "StringBuffer", "DateTime", "Dynamic"]
    assert table(server, ".show functions | where Parameters == '()' | project Name")["Rows"] == [["RestG"]]
    assert rows(server, "range c from 1 to 10 step 1 | count") == [[10]]


COMMANDS = [
    ".create-merge table RestNew (a: long)",
    ".alter table RestNew policy streamingingestion enable",
    ".alter table RestNew policy ingestionbatching @'{\"MaximumNumberOfItems\": 5, \"MaximumBatchingTimeSpan\": \"00:00:10\"}'",
    ".clear database cache streamingingestion schema",
    f".refresh database '{DB}' table 'RestNew' cache ingestionbatchingpolicy",
    ".drop table RestNew ifexists",
    ".drop tables (RestNew, RestOther) ifexists",
]


def test_the_commands_of_clients_test_suites_succeed(server):
    failed = {}
    for text in COMMANDS:
        answer = post(server, "/v1/rest/mgmt", text)
        if answer.status_code != 200:
            failed[text] = answer.json()["error"]["@message"]
    assert not failed, failed


TIMEOUTS = ["00:04:00", "0:04:00", "00:04:00.250", "1.00:00:00", "1 day, 0:00:00", "50m", "00:00:30"]


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_timeouts_come_in_every_form_that_clients_write(server, timeout):
    assert rows(server, "print 1", options={"servertimeout": timeout}) == [[1]]


OPTIONS = [
    {"norequesttimeout": True}, {"notruncation": True}, {"truncationmaxrecords": "7"}, {"truncationmaxsize": 1000000},
    {"results_progressive_enabled": False}, {"queryconsistency": "weakconsistency"}, {"queryconsistency": ""},
    {"query_results_cache_max_age": ""}, {"query_results_cache_max_age": "00:05:00"}, {"best_effort": True},
    {"request_app_name": "x"}, {"request_user": "y"}, {"request_description": "z"}, {"query_log_query_parameters": True},
    {"max_memory_consumption_per_query_per_node": 8 << 30}, {"maxmemoryconsumptionperiterator": 5 << 30},
    {"maxoutputcolumns": 2000}, {"query_language": "KQL"}, {"query_language": "csl"}, {"no_such_option": [1, {"a": 2}]},
    {"request_readonly": "true"}, {"query_weakconsistency_session_id": "s"}, {"query_now": "2020-01-01T00:00:00Z"},
    {"query_bin_auto_size": "1h", "query_bin_auto_at": "datetime(2020-01-01)"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=json.dumps)
def test_an_option_is_taken_by_every_endpoint(server, options):
    for path in ("/v1/rest/query", "/v2/rest/query"):
        answer = post(server, path, "print 1", options=options)
        assert answer.status_code == 200, answer.text


def test_options_mean_what_they_say(server):
    assert rows(server, "RestT | project a | sort by a asc", options={"query_take_max_records": 1}) == [[1]]
    assert rows(server, "print now()", options={"query_now": "datetime(2020-01-02)"}) == [["2020-01-02T00:00:00Z"]]
    scope = {"query_datetimescope_column": "t", "query_datetimescope_from": "datetime(2020-01-02)",
             "query_datetimescope_to": "datetime(2020-01-03)"}
    assert rows(server, "RestT | project a", options=scope) == [[2]]
    schema = rows(server, "RestT | project a, s", options={"query_results_apply_getschema": True})
    assert [(row[0], row[3]) for row in schema] == [("a", "long"), ("s", "string")]
    answer = post(server, "/v1/rest/query", "RestT | take 1", options={"servertimeout": "soon"})
    assert answer.status_code == 400 and "servertimeout" in answer.text


def test_parameters_are_plain_values_or_literals(server):
    declared = "declare query_parameters(s: string, n: long, r: real, b: bool, t: datetime, d: timespan, j: dynamic, g: guid); "
    literal = {"s": '"a \\"b\\""', "n": "long(5)", "r": "real(1.5)", "b": "bool(true)", "t": "datetime(2020-01-01)",
               "d": "time(1h)", "j": 'dynamic(["a"])', "g": "guid(74be27de-1e4e-49d9-b579-fe0b331d3642)"}
    plain = {"s": 'a "b"', "n": 5, "r": 1.5, "b": True, "t": "2020-01-01", "d": "01:00:00", "j": '["a"]',
             "g": "74be27de-1e4e-49d9-b579-fe0b331d3642"}
    wanted = [['a "b"', 5, 1.5, True, "2020-01-01T00:00:00Z", "01:00:00", ["a"], "74be27de-1e4e-49d9-b579-fe0b331d3642"]]
    for parameters in (literal, plain):
        assert rows(server, declared + "print s, n, r, b, t, d, j, g", parameters=parameters) == wanted
    missing = post(server, "/v1/rest/query", "declare query_parameters(n: long); print n")
    assert missing.status_code == 400


def test_a_get_has_its_parts_in_the_address(server):
    parts = {"db": DB, "csl": "RestT | where a == 2 | project s",
             "properties": json.dumps({"options": {"query_take_max_records": 5}, "ClientRequestId": "from;get"})}
    first = requests.get(server.url + "/v1/rest/query?" + urllib.parse.urlencode(parts))
    assert first.json()["Tables"][0]["Rows"] == [["two"]] and first.headers["x-ms-client-request-id"] == "from;get"
    second = requests.get(server.url + "/v2/rest/query?" + urllib.parse.urlencode(parts, quote_via=urllib.parse.quote))
    assert second.json()[2]["Rows"] == [["two"]]


def test_read_only_holds_on_every_way_in(server):
    write = ".create table RestNever (a: long)"
    for path in ("/v1/rest/mgmt", "/v1/rest/query"):
        for options, headers in (({"request_readonly": True}, {}), ({"request_readonly_hardline": True}, {}),
                                 ({}, {"x-ms-readonly": "true"}), ({}, {"X-MS-READONLY": ""})):
            answer = post(server, path, write, options=options, headers=headers)
            expected = 403 if options or headers != {"X-MS-READONLY": ""} else answer.status_code
            assert answer.status_code == expected and (expected != 403 or answer.json()["error"]["code"] == "Forbidden")
            assert post(server, path, ".show tables", options=options, headers=headers).status_code == 200
    table(server, ".drop table RestNever ifexists")


def test_names_in_paths_are_percent_encoded_or_not(server):
    table(server, ".create table ['Rest ü'] (a: long)")
    for name in ("Rest%20%C3%BC", "Rest ü"):
        answer = requests.post(f"{server.url}/v1/rest/ingest/{DB}/{name}?streamFormat=Csv", data=gzip.compress(b"1\n"),
                               headers={"Content-Encoding": "gzip", "x-ms-unknown": "1", "servertimeout": "00:01:00"})
        assert answer.status_code == 200 and answer.json()["Tables"][0]["TableName"] == "Table_0", answer.text
    assert rows(server, "['Rest ü'] | count") == [[2]]
    table(server, ".drop table ['Rest ü']")
    missing = requests.post(f"{server.url}/v1/rest/ingest/{DB}/NoSuchTable?streamFormat=csv", data=b"1\n")
    assert missing.status_code == 400 and missing.json()["error"]["@permanent"] is True


def test_answers_are_json_with_their_ids_also_when_they_fail(server):
    for path, text, status in (("/v1/rest/query", "print 1", 200), ("/v2/rest/query", "nope", 400), ("/v1/rest/mgmt", ".nope", 400),
                               ("/v1/rest/query", "print 1 |", 400)):
        answer = post(server, path, text, headers={"Accept": "*/*", "x-ms-client-request-id": "kept é".encode("latin-1")})
        assert answer.status_code == status and answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert answer.headers["x-ms-client-request-id"].encode("latin-1").decode("utf-8", "replace").startswith("kept ")
        assert len(answer.headers["x-ms-activity-id"]) == 36
    missing = requests.get(server.url + "/v1/rest/none")
    assert missing.status_code == 404 and missing.json()["error"]["message"]
    assert post(server, "/v1/rest/query", "print 1", db="NoSuchDatabase").status_code == 400


def test_a_datetime_has_seven_digits_inside_dynamic_values_only(server):
    found = rows(server, "print t = datetime(2020-01-02 03:04:05.1), j = bag_pack('t', datetime(2020-01-02 03:04:05.1))")
    assert found == [["2020-01-02T03:04:05.1Z", {"t": "2020-01-02T03:04:05.1000000Z"}]]
    assert datetime.datetime.fromisoformat(found[0][0].replace("Z", "+00:00")).microsecond == 100000
