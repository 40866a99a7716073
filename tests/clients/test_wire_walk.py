"""The REST interface line by line: what no client library shows. Source: kusto-rest.md sections 1 to 9, by number."""
import gzip
import json
import re
import socket
import uuid
import zlib

import pytest
import requests

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NULL_GUID = "00000000-0000-0000-0000-000000000000"


def send(server, path, body=None, method="POST", **more):
    headers = {"Content-Type": "application/json; charset=utf-8", **more.pop("headers", {})}
    return requests.request(method, server.url + path, data=body if isinstance(body, (bytes, str)) or body is None else json.dumps(body), headers=headers, timeout=60, **more)


def query(server, text, version=1, **members):
    answer = send(server, f"/v{version}/rest/query", {"db": "NetDefaultDB", "csl": text, **members})
    assert answer.status_code == 200, answer.text
    return answer.json()


def raw(server, request):
    """Sends bytes and reads the answer to the connection's end."""
    host, port = server.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


# 1. Endpoints


def test_a_command_on_the_second_version_is_refused_in_plain_text(server):
    answer = send(server, "/v2/rest/query", {"db": "NetDefaultDB", "csl": "  \n.show tables"})
    assert answer.status_code == 400 and answer.headers["Content-Type"].startswith("text/plain")
    assert "api_version v2" in answer.text


def test_a_command_on_the_first_versions_query_is_one_table_and_a_piped_one_four(server):
    assert len(query(server, "\n  .show databases schema")["Tables"]) == 1
    assert len(query(server, ".show tables | where TableName == 'x'")["Tables"]) == 4


def test_a_query_is_no_command(server):
    answer = send(server, "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": "print 1"})
    assert answer.status_code == 400 and answer.json()["error"]["@permanent"] is True


def test_the_ping_needs_nobody(server):
    answer = requests.get(server.url + "/v1/rest/ping", timeout=60)
    assert answer.status_code == 200 and answer.text.startswith("Pong!")


def test_what_clients_ask_first_has_all_members(server):
    found = requests.get(server.url + "/v1/rest/auth/metadata", timeout=60).json()
    assert set(found["AzureAD"]) == {"LoginEndpoint", "LoginMfaRequired", "KustoClientAppId", "KustoClientRedirectUri", "KustoServiceResourceId",
                                     "FirstPartyAuthorityUrl"}
    assert found["AzureAD"]["LoginMfaRequired"] is False
    found = requests.get(server.url + "/v1/rest/ingestion/configuration", timeout=60).json()
    assert set(found) == {"containerSettings", "ingestionSettings"}
    assert set(found["containerSettings"]) == {"containers", "lakeFolders", "refreshInterval", "preferredUploadMethod"}
    assert set(found["ingestionSettings"]) == {"maxBlobsPerBatch", "maxDataSize", "preferredIngestionMethod"}


# 2. Request


@pytest.mark.parametrize("body", [
    {"csl": "print a = 1"}, {"db": "", "csl": "print a = 1"}, {"db": None, "csl": "print a = 1"}, {"db": "NetDefaultDB", "csl": "print a = 1", "properties": None},
    {"DB": "NetDefaultDB", "CSL": "print a = 1", "PROPERTIES": {}}, {"Db": "NetDefaultDB", "Csl": "print a = 1", "querySource": "schema", "ns": 1},
    {"db": "NetDefaultDB", "csl": "print a = 1", "properties": ""}, {"db": "NetDefaultDB", "csl": "print a = 1", "properties": "{}"},
    {"db": "NetDefaultDB", "csl": "print a = 1", "properties": {"Options": None, "Parameters": None}},
])
def test_members_may_be_absent_in_any_case_or_unknown(server, body):
    answer = send(server, "/v1/rest/query", body)
    assert answer.status_code == 200 and answer.json()["Tables"][0]["Rows"] == [[1]]


@pytest.mark.parametrize("name", ["Options", "options", "OPTIONS", "oPtIoNs"])
@pytest.mark.parametrize("option", ["query_take_max_records", "Query_Take_Max_Records"])
def test_names_of_properties_and_options_are_of_any_case(server, name, option):
    for properties in ({name: {option: 2}}, json.dumps({name: {option: 2}})):
        assert len(query(server, "range x from 1 to 5 step 1", properties=properties)["Tables"][0]["Rows"]) == 2


def test_names_of_parameters_of_any_member_case(server):
    text = "declare query_parameters(n: long, s: string = 'd'); print n, s"
    for name in ("Parameters", "parameters", "PARAMETERS"):
        assert query(server, text, properties={name: {"n": "long(5)"}})["Tables"][0]["Rows"] == [[5, "d"]]


@pytest.mark.parametrize("text, parameters", [
    ("declare query_parameters(n: long); print n", {}), ("declare query_parameters(n: long, n: long); print n", {"n": 1}),
    ("declare query_parameters(n: long); print n", {"n": "five"}),
])
def test_parameters_that_cannot_be_are_refused(server, text, parameters):
    answer = send(server, "/v1/rest/query", {"db": "NetDefaultDB", "csl": text, "properties": {"Parameters": parameters}})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "General_BadRequest"


def test_of_two_limits_the_lower_counts(server):
    for given, set_ in ((3, 5), (5, 3)):
        found = query(server, f"set query_take_max_records = {set_}; range x from 1 to 9 step 1", properties={"Options": {"query_take_max_records": given}})
        assert len(found["Tables"][0]["Rows"]) == 3


@pytest.mark.parametrize("option", ["norequesttimeout", "query_language = 'sql'", "request_readonly", "request_user = 'x'", "servertimeout = 1h", "queryconsistency = 'weakconsistency'"])
def test_what_cannot_be_set_in_a_query_changes_nothing_there(server, option):
    assert query(server, f"set {option}; print a = 1")["Tables"][0]["Rows"] == [[1]]


def test_ids_of_requests_in_headers_and_properties(server):
    both = {"db": "NetDefaultDB", "csl": "print 1", "properties": {"ClientRequestId": "from;body"}}
    assert send(server, "/v1/rest/query", both).headers["x-ms-client-request-id"] == "from;body"
    header = {"x-ms-client-request-id": "from;header"}
    assert send(server, "/v1/rest/query", {"db": "NetDefaultDB", "csl": "print 1"}, headers=header).headers["x-ms-client-request-id"] == "from;header"


# 3. Response headers and status


def test_every_answer_has_its_ids(server):
    seen = set()
    for path, body, status in (("/v1/rest/query", {"csl": "print 1"}, 200), ("/v2/rest/query", {"csl": "print 1"}, 200), ("/v1/rest/mgmt", {"csl": ".show version"}, 200),
                               ("/v2/rest/query", {"csl": "nope"}, 400), ("/v1/rest/nothing", {}, 404)):
        answer = send(server, path, body)
        assert answer.status_code == status and answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert re.fullmatch(f"unspecified;{GUID.pattern}", answer.headers["x-ms-client-request-id"])
        assert GUID.fullmatch(answer.headers["x-ms-activity-id"])
        seen.add(answer.headers["x-ms-activity-id"])
        if status != 200:
            context = answer.json()["error"]["@context"]
            assert context["activityId"] == answer.headers["x-ms-activity-id"] and context["clientRequestId"] == answer.headers["x-ms-client-request-id"]
    assert len(seen) == 5


@pytest.mark.parametrize("accepted, encoding", [("gzip,deflate", "gzip"), ("gzip", "gzip"), ("deflate", "deflate"), ("identity", None), ("deflate, gzip;q=0", "deflate"),
                                                ("", None), ("*", "any"), ("br", None)])
def test_answers_are_packed_as_the_caller_allows(server, accepted, encoding):
    text = "range x from 1 to 2000 step 1"
    for path in ("/v1/rest/query", "/v2/rest/query"):
        answer = requests.post(server.url + path, json={"db": "NetDefaultDB", "csl": text}, headers={"Accept-Encoding": accepted}, stream=True, timeout=60)
        body = answer.raw.read(decode_content=False)
        found = answer.headers.get("Content-Encoding")
        assert found == encoding or encoding == "any" and found in (None, "gzip", "deflate", "br")
        # Deflate is the zlib form, as RFC 9110 says.
        body = gzip.decompress(body) if found == "gzip" else zlib.decompress(body) if found == "deflate" else body
        assert json.loads(body)


@pytest.mark.parametrize("encoding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress), ("identity", bytes)])
def test_requests_may_be_packed(server, encoding, pack):
    body = pack(json.dumps({"db": "NetDefaultDB", "csl": "print a = 1"}).encode())
    answer = send(server, "/v1/rest/query", body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200 and answer.json()["Tables"][0]["Rows"] == [[1]]


def test_a_body_that_is_not_packed_as_it_says_is_a_bad_request(server):
    for encoding in ("gzip", "deflate"):
        answer = send(server, "/v1/rest/query", b'{"csl": "print 1"}', headers={"Content-Encoding": encoding})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "General_BadRequest"
    assert send(server, "/v1/rest/query", b"x", headers={"Content-Encoding": "zstd-dict"}).status_code in (400, 415)


def test_who_asks_before_sending_is_told_to_go_on(server):
    body = b'{"db":"NetDefaultDB","csl":"print a = 1"}'
    head = b"POST /v1/rest/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\n"
    host, port = server.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head + f"Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b'"Rows":[[1]]' in answer


@pytest.mark.parametrize("path", ["/v1/rest/query", "/v2/rest/query", "/v1/rest/mgmt", "/v1/rest/ingest/NetDefaultDB/T", "/v1/rest/auth/metadata", "/v1/rest/ping"])
def test_a_page_may_ask_whether_it_may_call(server, path):
    asked = "authorization,content-type,cache-control,x-ms-app,x-ms-user,x-ms-client-request-id,x-ms-client-version,x-ms-version"
    origin = "https://dataexplorer.azure.com"
    answer = requests.options(server.url + path, headers={"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}, timeout=60)
    assert answer.status_code in (200, 204) and answer.headers["Access-Control-Allow-Origin"] in (origin, "*")
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert allowed == "*" or all(name in allowed for name in asked.split(","))
    answer = send(server, "/v1/rest/query", {"csl": "print 1"}, headers={"Origin": origin})
    exposed = answer.headers["Access-Control-Expose-Headers"].lower()
    assert "x-ms-client-request-id" in exposed and "x-ms-activity-id" in exposed


@pytest.mark.parametrize("path", ["/v1/rest/query?db=NetDefaultDB&csl=print%201", "/v2/rest/query?db=NetDefaultDB&csl=print%201", "/v1/rest/ping", "/v1/rest/auth/metadata", "/"])
def test_head_is_get_without_a_body(server, path):
    head = requests.head(server.url + path, timeout=60, allow_redirects=False)
    get = requests.get(server.url + path, timeout=60, allow_redirects=False)
    assert head.status_code == get.status_code and head.content == b"" and head.headers.get("Content-Type") == get.headers.get("Content-Type")


def test_a_connection_is_kept_and_closed_on_demand(server):
    one = b"POST /v1/rest/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 17\r\n%s\r\n" + b'{"csl":"print 1"}'
    answer = raw(server, one % b"" + one % b"Connection: Keep-Alive\r\n" + one % b"Connection: close\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    chunked = b"POST /v1/rest/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert raw(server, chunked + b'8\r\n{"csl":"\r\n9\r\nprint 1"}\r\n0\r\n\r\n').startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "text/json", "APPLICATION/JSON;charset=UTF-8", None, "application/x-www-form-urlencoded", "*/*"])
def test_the_media_type_of_a_request_does_not_matter(server, content_type):
    answer = requests.post(server.url + "/v1/rest/query", data=b'{"csl":"print a = 1"}', headers={"Content-Type": content_type, "Accept": "*/*"}, timeout=60)
    assert answer.status_code == 200, answer.text


# 4. Error document

CONTEXT = ["timestamp", "serviceAlias", "machineName", "processName", "processId", "threadId", "clientRequestId", "activityId", "subActivityId", "activityType",
           "parentActivityId", "activityStack"]


def test_a_semantic_error_has_its_whole_document(server):
    text = "print x = 1 | where nope == 1"
    answer = send(server, "/v2/rest/query", {"db": "NetDefaultDB", "csl": text})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert list(error)[:6] == ["code", "message", "@type", "@message", "@context", "@permanent"]
    assert (error["code"], error["message"]) == ("General_BadRequest", "Request is invalid and cannot be executed.")
    assert error["@type"].startswith("Kusto.") and "Semantic error: SEM0100" in error["@message"] and error["@permanent"] is True
    assert (error["@text"], error["@database"]) == (text, "NetDefaultDB")
    assert list(error["@context"]) == CONTEXT
    assert isinstance(error["@context"]["processId"], int) and isinstance(error["@context"]["threadId"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", error["@context"]["timestamp"])
    for name in ("activityId", "subActivityId", "parentActivityId"):
        assert GUID.fullmatch(error["@context"][name])
    inner = error["innererror"]
    assert inner["code"] == inner["@errorCode"] == "SEM0100" and inner["@type"] == "Kusto.Data.Exceptions.SemanticException"
    assert inner["@message"].startswith("Semantic error: SEM0100") and inner["@permanent"] is True and inner["@errorMessage"]


def test_a_syntax_error_tells_its_place_as_text(server):
    text = "print x = 1 |\n | nope"
    error = send(server, "/v1/rest/query", {"db": "NetDefaultDB", "csl": text}).json()["error"]
    inner = error["innererror"]
    assert inner["@type"].endswith("SyntaxException") and inner["code"].startswith("SYN")
    assert re.search(r"\[line:position=\d+:\d+\]\. Query: '", inner["@message"])
    assert all(isinstance(inner[name], str) for name in ("@line", "@pos", "@token"))


@pytest.mark.parametrize("path, body, status, code", [
    ("/v1/rest/query", {"db": "NoSuchDatabase", "csl": "print 1"}, 400, "BadRequest_DatabaseNotExist"),
    ("/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": ".show table NoSuchTable"}, 400, "BadRequest_EntityNotFound"),
    ("/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": ".nope"}, 400, "BadRequest_SyntaxError"),
    ("/v1/rest/query", {"db": "NetDefaultDB"}, 400, "General_BadRequest"),
    ("/v1/rest/query", {"db": "NetDefaultDB", "csl": ""}, 400, "General_BadRequest"),
    ("/v1/rest/query", [1], 400, "General_BadRequest"),
    ("/v1/rest/query", b"{", 400, "General_BadRequest"),
    ("/v1/rest/query", {"db": 5, "csl": "print 1"}, 400, "General_BadRequest"),
    ("/v1/rest/query", {"db": "NetDefaultDB", "csl": 5}, 400, "General_BadRequest"),
    ("/v1/rest/query", {"db": "NetDefaultDB", "csl": "print 1", "properties": "nope"}, 400, "General_BadRequest"),
    ("/v1/rest/query", {"db": "NetDefaultDB", "csl": "print 1", "properties": [1]}, 400, "General_BadRequest"),
])
def test_faults_have_the_codes_that_clients_know(server, path, body, status, code):
    answer = send(server, path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert isinstance(error["@permanent"], bool) and error["message"] and error["@message"] and error["@type"]


@pytest.mark.parametrize("tail, status, code", [
    ("NetDefaultDB/NoSuchTable?streamFormat=csv", 400, "BadRequest_EntityNotFound"), ("NoSuchDatabase/T?streamFormat=csv", 400, "BadRequest_DatabaseNotExist"),
    ("NetDefaultDB/WireT?streamFormat=nope", 400, "BadRequest_FormatNotSupported"), ("NetDefaultDB/WireT?streamFormat=json&mappingName=nope", 400, "BadRequest_MappingReferenceWasNotFound"),
])
def test_streaming_to_what_is_not_there_is_a_permanent_bad_request(server, tail, status, code):
    send(server, "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": ".create table WireT (a: long)"})
    answer = send(server, f"/v1/rest/ingest/{tail}", b"1\n")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["@permanent"]) == (status, code, True), answer.text


# 5. The first version's answer


def test_the_first_version_has_its_tables_in_order(server):
    found = query(server, "print b = true, i = int(1), l = 2, r = 1.5, m = decimal(1.5), s = 'x', t = datetime(2020-01-02), d = 1h, "
                          "g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642), j = dynamic([1]); print 2")
    assert list(found) == ["Tables"] and [table["TableName"] for table in found["Tables"]] == [f"Table_{n}" for n in range(5)]
    assert all(list(table) == ["TableName", "Columns", "Rows"] for table in found["Tables"])
    assert [(column["DataType"], column["ColumnType"]) for column in found["Tables"][0]["Columns"]] == [
        ("SByte", "bool"), ("Int32", "int"), ("Int64", "long"), ("Double", "real"), ("SqlDecimal", "decimal"), ("String", "string"), ("DateTime", "datetime"),
        ("TimeSpan", "timespan"), ("Guid", "guid"), ("Object", "dynamic")]
    assert found["Tables"][0]["Rows"] == [[True, 1, 2, 1.5, "1.5", "x", "2020-01-02T00:00:00Z", "01:00:00", "74be27de-1e4e-49d9-b579-fe0b331d3642", [1]]]
    visual, status, contents = found["Tables"][2:]
    assert [column["ColumnName"] for column in visual["Columns"]] == ["Value"] and len(visual["Rows"]) == 2
    drawn = json.loads(visual["Rows"][0][0])
    assert list(drawn) == ["Visualization", "Title", "XColumn", "Series", "YColumns", "AnomalyColumns", "XTitle", "YTitle", "XAxis", "YAxis", "Legend", "YSplit",
                           "Accumulate", "IsQuerySorted", "Kind", "Ymin", "Ymax", "Xmin", "Xmax"]
    assert (drawn["Visualization"], drawn["Accumulate"], drawn["Ymin"], drawn["Xmax"]) == (None, False, "NaN", None)
    assert [(column["ColumnName"], column["ColumnType"]) for column in status["Columns"]] == [
        ("Timestamp", "datetime"), ("Severity", "int"), ("SeverityName", "string"), ("StatusCode", "int"), ("StatusDescription", "string"), ("Count", "int"),
        ("RequestId", "guid"), ("ActivityId", "guid"), ("SubActivityId", "guid"), ("ClientActivityId", "string")]
    assert [row[1:6] for row in status["Rows"]][0] == [4, "Info", 0, "Query completed successfully", 1]
    assert status["Rows"][-1][1:4] == [6, "Stats", 0] and json.loads(status["Rows"][-1][4])["resource_usage"]
    assert [(column["ColumnName"], column["ColumnType"]) for column in contents["Columns"]] == [
        ("Ordinal", "long"), ("Kind", "string"), ("Name", "string"), ("Id", "string"), ("PrettyName", "string")]
    rows = contents["Rows"]
    assert [row[:3] for row in rows] == [[0, "QueryResult", "PrimaryResult"], [1, "QueryResult", "PrimaryResult"], [2, "QueryProperties", "@ExtendedProperties"],
                                         [3, "QueryStatus", "QueryStatus"]]
    assert rows[-1][3] == NULL_GUID and all(GUID.fullmatch(row[3]) for row in rows)


def test_a_failure_of_the_first_version_stands_in_and_beside_the_tables(server):
    found = query(server, "range x from 1 to 10 step 1", properties={"Options": {"truncationmaxrecords": 3}})
    assert list(found) == ["Tables", "Exceptions"] and len(found["Tables"]) == 1
    assert found["Tables"][0]["Rows"][:3] == [[1], [2], [3]] and list(found["Tables"][0]["Rows"][3]) == ["Exceptions"]
    assert "80DA0003" in found["Exceptions"][0] and "E_QUERY_RESULT_SET_TOO_LARGE" in found["Exceptions"][0]
    deferred = query(server, "range x from 1 to 10 step 1", properties={"Options": {"truncationmaxrecords": 3, "deferpartialqueryfailures": True}})
    assert deferred["Tables"][0]["Rows"] == [[1], [2], [3]] and 2 in [row[1] for row in deferred["Tables"][-2]["Rows"]]


# 6. The second version's answer


def test_the_second_version_has_its_frames_and_their_members_in_order(server):
    frames = query(server, "print a = 1; range x from 1 to 2 step 1 | render table", version=2)
    assert [(frame["FrameType"], frame.get("TableKind")) for frame in frames] == [
        ("DataSetHeader", None), ("DataTable", "QueryProperties"), ("DataTable", "PrimaryResult"), ("DataTable", "PrimaryResult"),
        ("DataTable", "QueryCompletionInformation"), ("DataSetCompletion", None)]
    assert list(frames[0].items()) == [("FrameType", "DataSetHeader"), ("IsProgressive", False), ("Version", "v2.0"), ("IsFragmented", False),
                                       ("ErrorReportingPlacement", "InData")]
    for at, frame in enumerate(frames[1:-1]):
        assert list(frame) == ["FrameType", "TableId", "TableKind", "TableName", "Columns", "Rows"] and frame["TableId"] == at
        assert all(list(column) == ["ColumnName", "ColumnType"] for column in frame["Columns"])
    assert [row[:2] for row in frames[1]["Rows"]] == [[1, "Visualization"], [2, "Visualization"]]
    assert json.loads(frames[1]["Rows"][1][2])["Visualization"] == "table"
    assert [(column["ColumnName"], column["ColumnType"]) for column in frames[-2]["Columns"]] == [
        ("Timestamp", "datetime"), ("ClientRequestId", "string"), ("ActivityId", "guid"), ("SubActivityId", "guid"), ("ParentActivityId", "guid"), ("Level", "int"),
        ("LevelName", "string"), ("StatusCode", "int"), ("StatusCodeName", "string"), ("EventType", "int"), ("EventTypeName", "string"), ("Payload", "string")]
    first, last = frames[-2]["Rows"][0], frames[-2]["Rows"][-1]
    assert first[5:11] == [4, "Info", 0, "S_OK (0)", 4, "QueryInfo"] and json.loads(first[11]) == {"Count": 1, "Text": "Query completed successfully"}
    assert last[5:11] == [6, "Stats", 0, "S_OK (0)", 0, "QueryResourceConsumption"] and "resource_usage" in json.loads(last[11])
    assert list(frames[-1].items()) == [("FrameType", "DataSetCompletion"), ("HasErrors", False), ("Cancelled", False)]


def test_frames_on_lines_begin_with_one_character_to_cut(server):
    body = {"db": "NetDefaultDB", "csl": "print a = 'x\\ny'", "properties": {"Options": {
        "results_v2_newlines_between_frames": True, "results_v2_fragment_primary_tables": True, "results_error_reporting_placement": "end_of_table"}}}
    lines = send(server, "/v2/rest/query", body).text.removesuffix("\n").split("\n")
    assert lines[-1] == "]" and lines[0][0] == "[" and all(line[0] == "," for line in lines[1:-1])
    frames = [json.loads(line[1:]) for line in lines[:-1]]
    assert frames[0] == {"FrameType": "DataSetHeader", "IsProgressive": False, "Version": "v2.0", "IsFragmented": True, "ErrorReportingPlacement": "EndOfTable"}
    assert [frame["FrameType"] for frame in frames] == ["DataSetHeader", "DataTable", "TableHeader", "TableFragment", "TableCompletion", "DataTable", "DataSetCompletion"]
    assert list(frames[2]) == ["FrameType", "TableId", "TableKind", "TableName", "Columns"]
    assert list(frames[3])[:3] == ["FrameType", "TableFragmentType", "TableId"] and frames[3]["TableFragmentType"] == "DataAppend"
    assert frames[4]["RowCount"] == 1 and frames[4]["TableId"] == frames[2]["TableId"] == 1


@pytest.mark.parametrize("placement, name", [("in_data", "InData"), ("end_of_table", "EndOfTable"), ("end_of_dataset", "EndOfDataset")])
def test_a_failure_of_the_second_version_stands_where_it_was_asked_for(server, placement, name):
    options = {"truncationmaxrecords": 3, "results_error_reporting_placement": placement, "results_v2_fragment_primary_tables": placement != "in_data"}
    frames = query(server, "range x from 1 to 10 step 1", version=2, properties={"Options": options})
    assert frames[0]["ErrorReportingPlacement"] == name
    end = frames[-1]
    assert end["FrameType"] == "DataSetCompletion" and end["HasErrors"] is True and end["Cancelled"] is False
    error = end["OneApiErrors"][0]["error"]
    assert list(error)[:6] == ["code", "message", "@type", "@message", "@context", "@permanent"] and error["code"] == "LimitsExceeded"
    assert error["@type"] == "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException" and error["@permanent"] is False
    assert "80DA0003" in error["@message"] and "E_QUERY_RESULT_SET_TOO_LARGE" in error["@message"]
    if placement == "in_data":
        assert frames[-2]["Rows"][:3] == [[1], [2], [3]] and frames[-2]["Rows"][3]["OneApiErrors"] == end["OneApiErrors"]
        assert "QueryCompletionInformation" not in [frame.get("TableKind") for frame in frames]
    else:
        completion = next(frame for frame in frames if frame["FrameType"] == "TableCompletion")
        assert ("OneApiErrors" in completion) == (placement == "end_of_table")


def test_a_deferred_failure_is_a_row_of_the_completion(server):
    frames = query(server, "range x from 1 to 10 step 1", version=2, properties={"Options": {"truncationmaxrecords": 3, "deferpartialqueryfailures": True}})
    assert frames[2]["Rows"] == [[1], [2], [3]] and frames[-1]["HasErrors"] is False
    row = next(row for row in frames[-2]["Rows"] if row[5] < 4)
    assert row[5:8] == [2, "Error", -2133196797] and row[9:11] == [1, "QueryLimitsExceeded"] and json.loads(row[11])["Count"] == 1


# 7. Values


def test_values_have_their_forms(server):
    text = """print n = real(nan), p = real(+inf), m = real(-inf), l = 9223372036854775807, z = long(null), e = '', u = guid(null),
        a = 1d + 2h + 3m + 4s + 5tick, b = -1h, c = 0s, t = datetime(2020-01-02 03:04:05.1200000), y = datetime(0001-01-01), j = dynamic(null), k = dynamic('x'),
        w = tostring(dynamic({"a": 1.0})), q = decimal(0.00000001)"""
    for version in (1, 2):
        found = query(server, text, version)
        row = found["Tables"][0]["Rows"][0] if version == 1 else found[2]["Rows"][0]
        assert row == ["NaN", "Infinity", "-Infinity", 9223372036854775807, None, "", None, "1.02:03:04.0000005", "-01:00:00", "00:00:00", "2020-01-02T03:04:05.12Z",
                       "0001-01-01T00:00:00Z", None, "x", '{"a":1.0}', "0.00000001"], row


# 9. Streaming ingestion


@pytest.mark.parametrize("form", ["csv", "Csv", "CSV"])
def test_streaming_answers_with_a_table_of_the_first_version(server, form):
    name = "W" + uuid.uuid4().hex[:8]
    send(server, "/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": f".create table {name} (a: long)"})
    answer = requests.post(f"{server.url}/v1/rest/ingest/NetDefaultDB/{name}?streamFormat={form}", data=iter([gzip.compress(b"1\n2\n")]),
                           headers={"Content-Encoding": "gzip", "x-ms-client-request-id": f"KPC.executeStreamingIngest;{uuid.uuid4()}"}, timeout=60)
    assert answer.status_code == 200
    table, = answer.json()["Tables"]
    assert [column["ColumnName"] for column in table["Columns"]] == ["ConsumedRecordsCount", "UpdatePolicyStatus", "UpdatePolicyFailureCode", "UpdatePolicyFailureReason"]
    assert table["Rows"][0][0] == 2 and query(server, f"{name} | count")["Tables"][0]["Rows"] == [[2]]
