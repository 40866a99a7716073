"""What runs, what ran, how it ends: journals, operations and statistics as clients see them."""
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
    for row in answer.tables[-1] if False else [row for table in answer.tables for row in table]:
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
