"""What runs, what ran, how it ends: journals, operations and statistics as clients see them."""
import datetime
import json
import time
import uuid

import pytest
import requests
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder

DB = "NetDefaultDB"


def connect(server):
    return KustoClient(KustoConnectionStringBuilder.with_no_authentication(server.url))


def rows(client, text):
    return [row.to_dict() for row in client.execute_mgmt(DB, text).primary_results[0]]


def wait_for(client, operation, *states):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = rows(client, f".show operations {operation}")
        if found and found[0]["State"] in states:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"operation {operation} is {found}")


def resources(answer):
    for row in [row for table in answer.tables for row in table]:
        values = row.to_dict()
        if values.get("EventTypeName") == "QueryResourceConsumption":
            return json.loads(values["Payload"])
    raise AssertionError("no statistics")


def test_statistics_are_those_of_the_query(server):
    with connect(server) as client:
        client.execute_mgmt(DB, ".set-or-replace Stats <| range n from 1 to 50000 step 1 | extend s = tostring(n)")
        client.execute_mgmt(DB, ".append Stats <| range n from 50001 to 60000 step 1 | extend s = tostring(n)")
        used = resources(client.execute_query(DB, "Stats | where n > 50000 | summarize count() by s | take 7"))
        assert list(used) == ["QueryHash", "ExecutionTime", "resource_usage", "input_dataset_statistics", "dataset_statistics",
                              "cross_cluster_resource_usage"]
        inputs = used["input_dataset_statistics"]
        assert inputs["extents"]["total"] == 2 and inputs["extents"]["scanned"] == 1
        assert inputs["rows"] == {"total": 60000, "scanned": 10000}
        assert used["dataset_statistics"][0]["table_row_count"] == 7
        assert used["resource_usage"]["memory"]["peak_per_node"] > 0
        assert used["resource_usage"]["cpu"]["total cpu"] != "00:00:00"
        assert used["resource_usage"]["cache"]["shards"]["hot"]["hitbytes"] > 0
        assert 0 < used["ExecutionTime"] < 60
        body = {"db": DB, "csl": "Stats | count"}
        status = requests.post(f"{server.url}/v1/rest/query", json=body, timeout=30).json()["Tables"][-2]["Rows"]
        assert status[-1][2] == "Stats" and list(json.loads(status[-1][4]))[0] == "QueryHash"


def test_asynchronous_commands_are_operations_with_details(server):
    with connect(server) as client:
        begun = rows(client, ".set-or-append async Slow <| range n from 1 to 1000 step 1")
        operation = begun[0]["OperationId"]
        done = wait_for(client, operation, "Completed", "Failed")
        assert done["State"] == "Completed" and done["Operation"] == "TableSetOrAppend"
        details = rows(client, f".show operation {operation} details")
        assert list(details[0]) == ["ExtentId", "OriginalSize", "ExtentSize", "ColumnSize", "IndexSize", "RowCount"]
        assert details[0]["RowCount"] == 1000
        failing = rows(client, ".append async Slow <| print 'no number'")[0]["OperationId"]
        failed = wait_for(client, failing, "Completed", "Failed")
        assert failed["State"] == "Failed" and "schema" in failed["Status"] and failed["ShouldRetry"] is False
        with pytest.raises(Exception, match="Failed"):
            rows(client, f".show operation {failing} details")


def test_an_operation_is_cancelled_with_its_reason(server):
    with connect(server) as client:
        text = ".set-or-replace async Never <| range a from 1 to 1000000000000 step 1 | where hash(a) == 1"
        operation = rows(client, text)[0]["OperationId"]
        answer = rows(client, f'.cancel operation {operation} with (reason="no need")')[0]
        assert answer["CancellationState"] == "Cancelled successfully" and answer["ReasonPhrase"] == "no need"
        ended = wait_for(client, operation, "Canceled", "Failed", "Completed")
        assert ended["State"] == "Canceled" and "no need" in ended["Status"]
        again = rows(client, f".cancel operation {operation}")[0]
        assert again["CancellationState"] == "Cancel failed"


def test_a_cancelled_query_says_so_in_the_journal(server):
    with connect(server) as client:
        name = f"running;{uuid.uuid4()}"
        body = {"db": DB, "csl": "range a from 1 to 1000000000000 step 1 | where hash(a) == 1"}
        import threading
        answers = []
        ask = lambda: answers.append(requests.post(f"{server.url}/v2/rest/query", json=body, timeout=60,
                                                   headers={"x-ms-client-request-id": name}))
        thread = threading.Thread(target=ask)
        thread.start()
        deadline = time.monotonic() + 20
        while not [row for row in rows(client, ".show running queries") if row["ClientActivityId"] == name]:
            assert time.monotonic() < deadline
        assert rows(client, f'.cancel query "{name}" with (reason="it is late")')[0]["RunningQueryCanceled"] is True
        thread.join(20)
        assert "it is late" in answers[0].text
        found = [row for row in rows(client, ".show queries") if row["ClientActivityId"] == name]
        assert found[0]["State"] == "Cancelled" and "it is late" in found[0]["FailureReason"]


def test_journals_survive_a_kill_and_what_was_cut_short_is_abandoned(own_server):
    with connect(own_server) as client:
        client.execute_mgmt(DB, ".create table Kept (a: long)")
        client.execute_query(DB, "print mark = 'before the kill'")
        text = ".set-or-replace async Cut <| range a from 1 to 1000000000000 step 1 | where hash(a) == 1"
        operation = rows(client, text)[0]["OperationId"]
        assert rows(client, f".show operations {operation}")[0]["State"] == "InProgress"
        rows(client, ".show queries | count")
        own_server.kill()
    own_server.start()
    with connect(own_server) as client:
        assert rows(client, f".show operations {operation}")[0]["State"] == "Abandoned"
        texts = [row["Text"] for row in rows(client, ".show queries")]
        assert any("before the kill" in text for text in texts)
        events = [row for row in rows(client, ".show journal") if row["EntityName"] == "Kept"]
        assert events[0]["Event"] == "CREATE-TABLE" and events[0]["ChangeCommand"] == ".create table Kept (a: long)"


def test_failures_of_streaming_ingestion_are_told_together(server):
    with connect(server) as client:
        client.execute_mgmt(DB, ".create-merge table Streamed (a: long)")
        for _ in range(3):
            answer = requests.post(f"{server.url}/v1/rest/ingest/{DB}/Streamed?streamFormat=parquet", data=b"no parquet", timeout=30)
            assert answer.status_code == 400
        found = [row for row in rows(client, ".show streamingingestion failures") if row["Table"] == "Streamed"]
        assert sum(row["Count"] for row in found) == 3 and found[0]["FailureKind"] == "Permanent"
        assert found[0]["IngestionProperties"]["IngestionSource"] == "Stream"


def options(**values):
    properties = ClientRequestProperties()
    for name, value in values.items():
        properties.set_option(name, value)
    return properties


@pytest.fixture
def groups(server):
    """What a test changes about workload groups is undone."""
    with connect(server) as client:
        yield client
        client.execute_mgmt(DB, ".delete cluster policy request_classification")
        for row in rows(client, ".show workload_groups"):
            if row["WorkloadGroupName"] not in ("default", "internal", "$materialized-views"):
                client.execute_mgmt(DB, f".drop workload_group ['{row['WorkloadGroupName']}']")


def ask(server, text, application, path="/v2/rest/query", **extra):
    return requests.post(f"{server.url}{path}", json={"db": DB, "csl": text, **extra}, headers={"x-ms-app": application}, timeout=60)


def test_requests_are_classified_and_held_to_their_groups_limits(server, groups):
    groups.execute_mgmt(DB, """.create-or-alter workload_group Small ```{
        "RequestLimitsPolicy": {"MaxResultRecords": {"IsRelaxable": false, "Value": 3}},
        "RequestRateLimitPolicies": [{"IsEnabled": true, "Scope": "Principal", "LimitKind": "ResourceUtilization",
            "Properties": {"ResourceKind": "RequestCount", "MaxUtilization": 4, "TimeWindow": "01:00:00"}}]}```""")
    groups.execute_mgmt(DB, """.alter cluster policy request_classification '{"IsEnabled":true}' <|
        case(request_properties.current_application == "small" and request_properties.request_type == "Query", "Small",
             request_properties.current_application == "wrong", "Nobodys",
             "default")""")
    frames = ask(server, "range a from 1 to 10 step 1", "small").json()
    assert frames[-1]["HasErrors"] is True and len(frames[2]["Rows"]) == 4
    lifted = ask(server, "range a from 1 to 10 step 1", "small", properties={"Options": {"notruncation": True}}).json()
    assert lifted[-1]["HasErrors"] is True, "the limit may not be relaxed"
    assert ask(server, "range a from 1 to 10 step 1", "big").json()[-1]["HasErrors"] is False
    assert ask(server, "range a from 1 to 10 step 1", "wrong").json()[-1]["HasErrors"] is False
    frames = ask(server, "print 1", "small").json()
    groups_told = [row for row in frames[-2]["Rows"] if row[10] == "WorkloadGroup"]
    assert json.loads(groups_told[0][11])["Text"] == "Small"
    assert ask(server, "print 2", "small").status_code == 200
    denied = ask(server, "print 3", "small")
    assert denied.status_code == 429 and denied.headers["Retry-After"].isdigit()
    error = denied.json()["error"]
    assert error["code"] == "TooManyRequests" and error["@type"].endswith("QuotaExceededException") and error["@permanent"] is False
    assert error["@message"].startswith("The request was denied due to exceeding quota limitations. Resource: 'RequestCount', "
                                        "Quota: '4', TimeWindow: '01:00:00', Origin: 'RequestRateLimitPolicy/WorkloadGroup/Small/Principal/")
    last = [row for row in rows(groups, ".show queries") if row["WorkloadGroup"] == "Small"]
    assert len(last) == 5 and last[-1]["State"] == "Throttled"
    groups.execute_mgmt(DB, """.alter-merge cluster policy request_classification '{"IsEnabled":false}'""")
    assert ask(server, "print 4", "small").status_code == 200


def test_groups_limit_what_runs_at_once(server, groups):
    groups.execute_mgmt(DB, """.create-or-alter workload_group None ```{
        "RequestRateLimitPolicies": [{"IsEnabled": true, "Scope": "WorkloadGroup", "LimitKind": "ConcurrentRequests",
            "Properties": {"MaxConcurrentRequests": 0}}]}```""")
    groups.execute_mgmt(DB, """.alter cluster policy request_classification '{"IsEnabled":true}' <|
        iff(request_properties.current_application == "blocked", "None", "default")""")
    error = ask(server, "print 1", "blocked")
    assert error.status_code == 429 and error.json()["error"]["@type"].endswith("QueryThrottledException")
    assert error.json()["error"]["@message"] == (
        "The query was aborted due to throttling. Retrying after some backoff might succeed. Capacity: 0, Origin: "
        "'RequestRateLimitPolicy/WorkloadGroup/None'.")
    error = ask(server, ".show tables", "blocked", "/v1/rest/mgmt")
    assert error.status_code == 429 and error.json()["error"]["@type"].endswith("ControlCommandThrottledException")
    assert "CommandType: 'TablesShow', Capacity: 0" in error.json()["error"]["@message"]
    # Whoever must help a full server is let in.
    assert ask(server, ".show running queries", "blocked", "/v1/rest/mgmt").status_code == 200
    assert ask(server, '.cancel query "x"', "blocked", "/v1/rest/mgmt").status_code == 200


def test_groups_survive_a_restart(own_server):
    with connect(own_server) as client:
        client.execute_mgmt(DB, """.create-or-alter workload_group Kept '{"RequestLimitsPolicy":{"MaxResultRecords":{"Value":5}}}'""")
        client.execute_mgmt(DB, """.alter-merge cluster policy capacity '{"ExportCapacity":{"ClusterMaximumConcurrentOperations":1}}'""")
        own_server.kill()
    own_server.start()
    with connect(own_server) as client:
        kept = json.loads(rows(client, ".show workload_group Kept")[0]["WorkloadGroup"])
        assert kept["RequestLimitsPolicy"]["MaxResultRecords"] == {"IsRelaxable": True, "Value": 5}
        assert rows(client, ".show capacity data-export")[0]["Total"] == 1


def test_progressive_answers_tell_how_far_the_scan_is(server):
    with connect(server) as client:
        client.execute_mgmt(DB, ".set-or-replace Progress <| range n from 1 to 200000 step 1 | extend s = tostring(n)")
    text = "Progress | where hash(strcat(s, s), 7) == 1 | extend t = strcat(s, s, s) | summarize count() by hash(t, 1000)"
    properties = {"Options": {"results_progressive_enabled": True, "query_results_progressive_row_count": 100,
                              "query_results_progressive_update_period": "00:00:00.01"}}
    body = {"db": DB, "csl": text, "properties": properties}
    frames = requests.post(f"{server.url}/v2/rest/query", json=body, timeout=60).json()
    assert frames[0]["IsProgressive"] is True
    kinds = [frame["FrameType"] for frame in frames]
    assert kinds[2] == "TableHeader" and kinds[-3] == "TableCompletion" and kinds[-1] == "DataSetCompletion"
    progress = [frame["TableProgress"] for frame in frames if frame["FrameType"] == "TableProgress"]
    assert progress == sorted(progress) and progress[-1] == 100.0
    fragments = [frame for frame in frames if frame["FrameType"] == "TableFragment"]
    assert all(len(frame["Rows"]) <= 100 for frame in fragments)
    assert sum(len(frame["Rows"]) for frame in fragments) == frames[-3]["RowCount"]


STOPS = {
    "rows": ("range a from 1 to 100 step 1", {"truncationmaxrecords": 10}, "E_QUERY_RESULT_SET_TOO_LARGE"),
    "bytes": ("range a from 1 to 100 step 1", {"truncationmaxsize": 100}, "E_QUERY_RESULT_SET_TOO_LARGE"),
    "time": ("range a from 1 to 1000000000000 step 1 | extend s = strcat('some text ', a) | where a % 200 == 0",
             {"servertimeout": "00:00:02", "notruncation": True}, "E_QUERY_TIMED_OUT"),
    "memory": ("range a from 1 to 3000000 step 1 | as T | join kind=inner (range a from 1 to 3000000 step 1) on a | count",
               {"max_memory_consumption_per_query_per_node": 1000000}, "80DA0007"),
}


@pytest.mark.parametrize("name", STOPS)
def test_the_python_client_notices_every_result_that_stops(server, name):
    from azure.kusto.data.exceptions import KustoError, KustoMultiApiError
    text, values, told = STOPS[name]
    typed = {key: datetime.timedelta(seconds=2) if key == "servertimeout" else value for key, value in values.items()}
    with connect(server) as client:
        with pytest.raises((KustoError, KustoMultiApiError)) as noticed:
            client.execute_query(DB, text, options(**typed))
        # Of several errors the SDK's own text says nothing.
        assert told in str(noticed.value) or str(noticed.value) == "[]", str(noticed.value)[:500]
    answer = requests.post(f"{server.url}/v1/rest/query", json={"db": DB, "csl": text, "properties": {"Options": values}}, timeout=120)
    if answer.status_code == 200:
        body = answer.json()
        assert told in body["Exceptions"][0] and told in body["Tables"][0]["Rows"][-1]["Exceptions"][0]
    else:
        assert told in answer.text and answer.status_code in (400, 504)


def test_parameters_are_journaled_only_when_asked(server):
    for asked in (True, False):
        name = f"parameters;{asked}"
        body = {"db": DB, "csl": "declare query_parameters(secret: string); print strlen(secret)", "properties": {
            "Options": {"query_log_query_parameters": asked, "request_user": "somebody"}, "Parameters": {"secret": "shown or not"}}}
        answer = requests.post(f"{server.url}/v1/rest/query", json=body, headers={"x-ms-client-request-id": name}, timeout=30)
        assert answer.json()["Tables"][0]["Rows"] == [[12]]
        text = f".show queries | where ClientActivityId == '{name}' | project ClientRequestProperties"
        shown = requests.post(f"{server.url}/v1/rest/mgmt", json={"db": DB, "csl": text}, timeout=30).json()["Tables"][0]["Rows"][0][0]
        assert (shown.get("query_parameters") == {"secret": "shown or not"}) is asked
        assert shown["request_user"] == "******"
