"""Queued ingestion by the official libraries, unmodified, by Azure's own storage libraries, and over REST."""
import base64
import gzip
import io
import json
import time
import uuid

import pytest
import requests
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.data_format import DataFormat
from azure.kusto.ingest import (BlobDescriptor, ColumnMapping, FileDescriptor, IngestionMappingKind, IngestionProperties, KustoStreamingIngestClient,
                                ManagedStreamingIngestClient, QueuedIngestClient, ReportLevel, ReportMethod, StreamDescriptor)
from azure.kusto.ingest.status import KustoIngestStatusQueues
from conftest import Server

DB = "NetDefaultDB"


def connection(server):
    return KustoConnectionStringBuilder.with_no_authentication(server.url)


def command(server, text):
    return KustoClient(connection(server)).execute_mgmt(DB, text).primary_results[0]


def count(server, table):
    return KustoClient(connection(server)).execute(DB, f"['{table}'] | count").primary_results[0][0][0]


def until(test, seconds=30):
    end = time.time() + seconds
    while time.time() < end:
        if found := test():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def table(server, columns="a:long, s:string"):
    name = "Q" + uuid.uuid4().hex[:8]
    command(server, f".create table {name} ({columns})")
    return name


def properties(name, **more):
    more = {"data_format": DataFormat.CSV, "flush_immediately": True, "report_level": ReportLevel.FailuresAndSuccesses, **more}
    return IngestionProperties(DB, name, **more)


def statuses(client, source):
    queues = KustoIngestStatusQueues(client)
    found = {}

    def look():
        for message in queues.success.pop(30) + queues.failure.pop(30):
            found[message.IngestionSourceId] = message
        return found.get(str(source))

    return until(look)


def uploads(server):
    folder = server.data / "queue" / "uploads"
    return {file.name for file in folder.iterdir() if file.suffix != ".part"} if folder.exists() else set()


def test_a_stream_a_file_and_a_blob_are_queued(server, tmp_path):
    before = uploads(server)
    name = table(server)
    client = QueuedIngestClient(connection(server))
    source = uuid.uuid4()
    result = client.ingest_from_stream(StreamDescriptor(io.BytesIO(b"1,a\n2,b\n"), source_id=source), properties(name))
    assert result.status.value == "QUEUED"
    told = statuses(client, source)
    assert (told.Database, told.Table) == (DB, name) and told.SucceededOn
    assert "sig=" not in told.IngestionSourcePath
    path = tmp_path / "rows.csv"
    path.write_text("3,c\n")
    client.ingest_from_file(FileDescriptor(str(path)), properties(name))
    until(lambda: count(server, name) == 3)
    # Uploads are gone when they are ingested.
    until(lambda: not uploads(server) - before)


def test_bad_data_is_told_and_the_others_of_its_batch_stay(server):
    name = table(server)
    client = QueuedIngestClient(connection(server))
    good, bad = uuid.uuid4(), uuid.uuid4()
    command(server, f'.alter table {name} policy ingestionbatching @\'{{"MaximumBatchingTimeSpan":"00:00:10","MaximumNumberOfItems":2}}\'')
    wanted = properties(name, data_format=DataFormat.JSON, flush_immediately=False)
    client.ingest_from_stream(StreamDescriptor(io.BytesIO(b'{"a": 1, "s": "x"}'), source_id=good), wanted)
    time.sleep(0.5)
    assert count(server, name) == 0
    client.ingest_from_stream(StreamDescriptor(io.BytesIO(b'{"a": '), source_id=bad), wanted)
    told = statuses(client, bad)
    assert told.FailureStatus == "Permanent" and told.ErrorCode == "BadRequest_InvalidBlob" and told.ShouldRetry is False
    until(lambda: count(server, name) == 1)
    failures = until(lambda: [row for row in command(server, ".show ingestion failures") if row["Table"] == name])
    assert failures[0]["ErrorCode"] == "BadRequest_InvalidBlob"


def test_a_missing_table_is_told(server):
    client = QueuedIngestClient(connection(server))
    source = uuid.uuid4()
    client.ingest_from_stream(StreamDescriptor(io.BytesIO(b"1\n"), source_id=source), properties("NoSuchTable", flush_immediately=False))
    assert statuses(client, source).ErrorCode == "BadRequest_EntityNotFound"


def test_properties_of_the_library_count(server):
    name = table(server, "a:long, s:string")
    client = QueuedIngestClient(connection(server))
    mapping = [ColumnMapping("a", "long", path="$.number"), ColumnMapping("s", "string", path="$.text")]
    wanted = dict(data_format=DataFormat.MULTIJSON, column_mappings=mapping, ingestion_mapping_kind=IngestionMappingKind.JSON,
                  additional_tags=["x"], ingest_by_tags=["once"], ingest_if_not_exists=["once"])
    body = json.dumps([{"number": 7, "text": "seven"}]).encode()
    for _ in range(2):
        source = uuid.uuid4()
        client.ingest_from_stream(StreamDescriptor(io.BytesIO(body), source_id=source), properties(name, **wanted))
        statuses(client, source)
    assert count(server, name) == 1
    assert set(command(server, f".show table {name} extents")[0]["Tags"].split()) == {"x", "ingest-by:once"}
    other = table(server)
    source = uuid.uuid4()
    client.ingest_from_stream(StreamDescriptor(io.BytesIO(b"a,s\n1,x\n"), source_id=source), properties(other, ignore_first_record=True))
    statuses(client, source)
    assert count(server, other) == 1


def test_files_are_batched_by_count_and_time(server):
    name = table(server)
    command(server, f'.alter table {name} policy ingestionbatching @\'{{"MaximumBatchingTimeSpan":"00:00:10","MaximumNumberOfItems":5}}\'')
    client = QueuedIngestClient(connection(server))
    began = time.time()
    for n in range(6):
        client.ingest_from_stream(StreamDescriptor(io.BytesIO(f"{n},x\n".encode())), properties(name, flush_immediately=False))
    until(lambda: count(server, name) == 5)
    assert len(command(server, f".show table {name} extents")) == 1
    until(lambda: count(server, name) == 6)
    assert time.time() - began > 9


def test_managed_streaming_streams_small_data_and_queues_large(server):
    name = table(server)
    client = ManagedStreamingIngestClient(connection(server))
    client.ingest_from_stream(io.BytesIO(b"1,a\n"), properties(name))
    assert count(server, name) == 1
    import os
    rows = "".join(f"{n},{os.urandom(48).hex()}\n" for n in range(100_000)).encode()
    assert len(gzip.compress(rows)) > 4 << 20
    client.ingest_from_stream(io.BytesIO(rows), properties(name))
    until(lambda: count(server, name) == 100_001, 90)
    # Streaming that the table refuses falls back to the queue, too, unless the refusal is permanent.
    streaming = KustoStreamingIngestClient(connection(server))
    streaming.ingest_from_stream(io.BytesIO(b"5,z\n"), properties(name))
    assert count(server, name) == 100_002


def resources(server):
    rows = command(server, ".get ingestion resources")
    return {row["ResourceTypeName"]: row["StorageRoot"] for row in rows}


def test_the_storage_speaks_to_azures_own_libraries(server):
    from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
    from azure.storage.blob import BlobBlock, ContainerClient
    from azure.storage.queue import QueueClient

    own = resources(server)
    container = ContainerClient.from_container_url(own["TempStorage"])
    blob = container.get_blob_client("dir/n ame.csv")
    blob.upload_blob(b"0123456789", overwrite=True)
    with pytest.raises(ResourceExistsError):
        blob.upload_blob(b"x")
    assert blob.download_blob().readall() == b"0123456789"
    assert blob.download_blob(offset=3, length=4).readall() == b"3456"
    assert blob.get_blob_properties().size == 10
    blob.stage_block("YQ==", b"first,")
    blob.stage_block("Yg==", b"second")
    blob.commit_block_list([BlobBlock("YQ=="), BlobBlock("Yg==")])
    assert blob.download_blob().readall() == b"first,second"
    blob.delete_blob()
    assert not blob.exists()
    with pytest.raises(ResourceNotFoundError):
        blob.download_blob()
    with pytest.raises(HttpResponseError):
        list(container.list_blobs())
    changed = own["TempStorage"].replace("sp=rwcd", "sp=rwcdl")
    with pytest.raises(HttpResponseError):
        ContainerClient.from_container_url(changed).get_blob_client("x").upload_blob(b"x")
    with pytest.raises(HttpResponseError):
        QueueClient.from_queue_url(own["SecuredReadyForAggregationQueue"]).receive_message()
    with pytest.raises(HttpResponseError):
        QueueClient.from_queue_url(own["SecuredReadyForAggregationQueue"]).send_message("not json")
    assert requests.get(own["TempStorage"].split("?")[0] + "/x", timeout=30).status_code == 403


def test_status_messages_are_hidden_while_somebody_has_them(server):
    from azure.storage.queue import QueueClient

    queue = QueueClient.from_queue_url(resources(server)["FailedIngestionsQueue"])
    queue.clear_messages()
    client = QueuedIngestClient(connection(server))
    client.ingest_from_stream(io.BytesIO(b"1\n"), properties("NoSuchTable"))
    until(lambda: queue.get_queue_properties().approximate_message_count == 1)
    assert len(queue.peek_messages(5)) == 1
    message = queue.receive_message(visibility_timeout=2)
    assert json.loads(base64.b64decode(message.content))["Table"] == "NoSuchTable"
    assert queue.receive_message() is None
    again = until(lambda: queue.receive_message(visibility_timeout=30))
    assert again.dequeue_count == 2
    with pytest.raises(Exception):
        queue.delete_message(message)
    queue.delete_message(again)
    assert queue.get_queue_properties().approximate_message_count == 0


def test_the_status_table_is_kept(server):
    own, query = resources(server)["IngestionsStatusTable"].split("?")
    keys = uuid.uuid4().hex
    entity = {"PartitionKey": keys, "RowKey": "it's", "Status": "Pending"}
    assert requests.post(f"{own}?{query}", json=entity, timeout=30).status_code == 201
    assert requests.post(f"{own}?{query}", json=entity, timeout=30).status_code == 409
    one = f"{own}(PartitionKey='{keys}',RowKey='it''s')?{query}"
    assert requests.get(one, timeout=30).json()["Status"] == "Pending"
    assert requests.request("MERGE", one, json={"Status": "Queued"}, timeout=30).status_code == 204
    name = table(server)
    upload, sas = resources(server)["TempStorage"].split("?")
    requests.put(f"{upload}/{keys}.csv?{sas}", data=b"1,a\n", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30)
    token = command(server, ".get kusto identity token")[0]["AuthorizationContext"]
    message = {"Id": keys, "BlobPath": f"{upload}/{keys}.csv?{sas}", "DatabaseName": DB, "TableName": name, "FlushImmediately": True,
               "ReportLevel": 2, "ReportMethod": 1, "IngestionStatusInTable": {"tableConnectionString": own, "partitionKey": keys, "rowKey": "it's"},
               "AdditionalProperties": {"authorizationContext": token, "format": "csv"}}
    text = base64.b64encode(json.dumps(message).encode()).decode()
    ready, key = resources(server)["SecuredReadyForAggregationQueue"].split("?")
    sent = requests.post(f"{ready}/messages?{key}", data=f"<QueueMessage><MessageText>{text}</MessageText></QueueMessage>", timeout=30)
    assert sent.status_code == 201 and "<PopReceipt>" in sent.text
    found = until(lambda: (row := requests.get(one, timeout=30).json())["Status"] == "Succeeded" and row)
    assert found["Table"] == name and "sig=" not in found["IngestionSourcePath"]
    assert requests.delete(one, timeout=30).status_code == 204
    assert requests.get(one, timeout=30).status_code == 404


def test_files_are_queued_and_followed_over_rest(server):
    name = table(server)
    configuration = requests.get(f"{server.url}/v1/rest/ingestion/configuration", timeout=30).json()
    container, sas = configuration["containerSettings"]["containers"][0]["path"].split("?")
    blobs = []
    for n, body in enumerate([b"1,a\n", b"2,b\n3,c\n", b'4,"open']):
        url = f"{container}/rest-{name}-{n}.csv?{sas}"
        assert requests.put(url, data=body, headers={"x-ms-blob-type": "BlockBlob"}, timeout=30).status_code == 201
        blobs.append({"url": url, "sourceId": str(uuid.uuid4()), "rawSize": len(body)})
    blobs.append({"url": f"{container}/none.csv?{sas}"})
    address = f"{server.url}/v1/rest/ingestion/queued/{DB}/{name}"
    body = {"timestamp": "2026-01-01T00:00:00Z", "blobs": blobs,
            "properties": {"format": "csv", "enableTracking": True, "tags": ["rest"], "skipBatching": True}}
    answer = requests.post(address, json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    operation = answer.json()["ingestionOperationId"]
    look = lambda: requests.get(f"{address}/{operation}?details=true", timeout=30).json()
    done = until(lambda: (state := look())["status"]["InProgress"] == 0 and state)
    assert done["status"]["Succeeded"] + done["status"]["Failed"] == 4 and done["status"]["Failed"] >= 1
    missing = next(blob for blob in done["details"] if blob["url"].endswith("/none.csv"))
    assert missing["status"] == "Failed" and missing["failureStatus"] == "Permanent" and missing["errorCode"] and missing["details"]
    assert "sig=" not in json.dumps(done)
    assert "details" not in requests.get(f"{address}/{operation}", timeout=30).json()
    assert count(server, name) >= 3
    untracked = requests.post(address, json={**body, "blobs": blobs[:1], "properties": {"format": "csv"}}, timeout=30)
    assert untracked.json() == {"ingestionOperationId": ""}
    for wrong in [{}, {**body, "blobs": []}, {**body, "blobs": blobs * 6}, {**body, "blobs": [{"url": "https://example.com/x.csv"}]}]:
        assert requests.post(address, json=wrong, timeout=30).status_code in (400, 403)
    assert requests.get(f"{address}/{uuid.uuid4()}", timeout=30).status_code in (400, 404)
    assert requests.post(f"{server.url}/v1/rest/ingestion/queued/{DB}/NoSuch", json=body, timeout=30).status_code in (400, 404)


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(own_server):
    server = own_server
    names = [table(server) for _ in range(3)]
    for name in names:
        command(server, f'.alter table {name} policy ingestionbatching @\'{{"MaximumBatchingTimeSpan":"00:00:10","MaximumNumberOfItems":3}}\'')
    sent = {name: 0 for name in names}
    for round in range(4):
        client = QueuedIngestClient(connection(server))
        for n in range(9):
            name = names[n % 3]
            client.ingest_from_stream(StreamDescriptor(io.BytesIO(b"1,a\n2,b\n")), properties(name, flush_immediately=False))
            sent[name] += 2
        # Somewhere between taking the last file in and having committed the batches.
        time.sleep(0.02 * round)
        server.kill()
        server.start()
    until(lambda: all(count(server, name) == sent[name] for name in names), 60)
    time.sleep(2)
    assert {name: count(server, name) for name in names} == sent


def test_a_backup_has_the_files_that_wait(own_server, tmp_path):
    server = own_server
    name = table(server)
    command(server, f'.alter table {name} policy ingestionbatching @\'{{"MaximumBatchingTimeSpan":"00:00:10"}}\'')
    configuration = requests.get(f"{server.url}/v1/rest/ingestion/configuration", timeout=30).json()
    container, sas = configuration["containerSettings"]["containers"][0]["path"].split("?")
    url = f"{container}/waits-{name}.csv?{sas}"
    assert requests.put(url, data=b"1,a\n2,b\n", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30).status_code == 201
    body = {"blobs": [{"url": url}], "properties": {"format": "csv"}}
    assert requests.post(f"{server.url}/v1/rest/ingestion/queued/{DB}/{name}", json=body, timeout=30).status_code == 200
    done = server.cli("backup", "--data", server.data, tmp_path / "backup")
    assert done.returncode == 0, done
    server.stop()
    back = tmp_path / "back"
    done = server.cli("restore", "--data", back, tmp_path / "backup")
    assert done.returncode == 0, done
    server.data = back
    server.start()
    until(lambda: count(server, name) == 2)
    server.stop()
    assert server.cli("fsck", "--data", back, "--deep").returncode == 0
    server.start()
