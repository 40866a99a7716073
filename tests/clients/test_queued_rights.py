"""Who may queue what: the rights of whoever sent a message count when its file is ingested."""
import base64
import json
import time
import uuid

import requests
from test_rights import forbidden, kusto, rows, server  # noqa: F401 (a fixture)


def resources(server, who):  # noqa: F811
    return dict(rows(kusto(server, who, ".get ingestion resources")))


def send(server, token, table, body=b"9\n"):  # noqa: F811
    """Uploads and queues as the libraries do, with somebody's addresses and whatever token."""
    own = resources(server, "robot")
    container, sas = own["TempStorage"].split("?")
    name = f"{container}/{uuid.uuid4()}.csv?{sas}"
    assert requests.put(name, data=body, headers={"x-ms-blob-type": "BlockBlob"}, timeout=30).status_code == 201
    source = str(uuid.uuid4())
    message = {"Id": source, "BlobPath": name, "DatabaseName": "D", "TableName": table, "FlushImmediately": True, "ReportLevel": 2,
               "ReportMethod": 0, "AdditionalProperties": {"authorizationContext": token, "format": "csv"}}
    text = base64.b64encode(json.dumps(message).encode()).decode()
    queue, key = own["SecuredReadyForAggregationQueue"].split("?")
    sent = requests.post(f"{queue}/messages?{key}", data=f"<QueueMessage><MessageText>{text}</MessageText></QueueMessage>", timeout=30)
    assert sent.status_code == 201
    for _ in range(150):
        for kind in ("SuccessfulIngestionsQueue", "FailedIngestionsQueue"):
            address, key = own[kind].split("?")
            answer = requests.get(f"{address}/messages?peekonly=true&numofmessages=32&{key}", timeout=30).text
            for part in answer.split("<MessageText>")[1:]:
                told = json.loads(base64.b64decode(part.split("<")[0]))
                if told["IngestionSourceId"] == source:
                    return told
        time.sleep(0.1)
    raise AssertionError("nothing was told")


def test_only_those_who_may_ingest_get_addresses_and_tokens(server):  # noqa: F811
    for command in (".get ingestion resources", ".get kusto identity token"):
        assert "ingest into any table" in forbidden(kusto(server, "eve", command))
        assert rows(kusto(server, "robot", command))
    assert kusto(server, None, ".get ingestion resources").status_code == 401
    assert requests.get(f"{server.url}/v1/rest/ingestion/configuration", timeout=30).status_code == 401


def test_the_senders_rights_count_when_a_file_is_ingested(server):  # noqa: F811
    rows(kusto(server, "root", ".create table U (a: long)"))
    before = rows(kusto(server, "root", "T | count"))[0][0]
    robot = rows(kusto(server, "robot", ".get kusto identity token"))[0][0]
    assert "SucceededOn" in send(server, robot, "T")
    assert rows(kusto(server, "root", "T | count"))[0][0] == before + 1
    assert send(server, robot, "U")["ErrorCode"] == "Forbidden"
    for token in ("", "nonsense", robot[:-2] + "xx"):
        assert send(server, token, "T")["ErrorCode"] == "Forbidden"
    rows(kusto(server, "root", ".drop table T ingestors ('aadapp=robot')"))
    rows(kusto(server, "root", ".add table U ingestors ('aadapp=robot')"))
    assert send(server, robot, "T")["ErrorCode"] == "Forbidden"
    assert rows(kusto(server, "root", "T | count"))[0][0] == before + 1


def test_rest_asks_for_the_role_as_well(server):  # noqa: F811
    body = {"blobs": [{"url": "https://example.com/x.csv"}], "properties": {"format": "csv"}}
    ask = lambda who, table: requests.post(f"{server.url}/v1/rest/ingestion/queued/D/{table}", json=body, timeout=30,
                                           headers={"Authorization": f"Bearer {server.secrets[who]}"})
    assert "ingest into table 'U'" in forbidden(ask("eve", "U"))
    # Who may ingest is told of the address.
    assert "external_urls" in ask("root", "U").json()["error"]["@message"]
    status = requests.get(f"{server.url}/v1/rest/ingestion/queued/D/U/{uuid.uuid4()}", timeout=30,
                          headers={"Authorization": f"Bearer {server.secrets['eve']}"})
    forbidden(status)
