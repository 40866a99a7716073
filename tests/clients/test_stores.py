"""Object stores: an S3-compatible and an Azure-compatible server of the package registries, read, ingested from and exported to."""
import gzip
import json
import re
import shutil
import subprocess
import time

import pytest
import requests
from conftest import Server
from test_js import modules  # noqa: F401 (a fixture)

AWS = "AwsCredentials=TESTKEYID,verysecretkey/1+2="
ACCOUNT = "devstoreaccount1"
# The key of Azure's own emulator, which is public.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def call(server, text, database="NetDefaultDB", ok=True):
    answer = requests.post(server.url + "/v1/rest/mgmt" if text.lstrip().startswith(".") else server.url + "/v1/rest/query",
                           json={"csl": text, "db": database}, timeout=120)
    if not ok:
        assert answer.status_code >= 400, answer.text[:500]
        return answer.text
    assert answer.status_code == 200, answer.text[:2000]
    return answer.json()["Tables"][0]["Rows"]


@pytest.fixture(scope="module")
def s3():
    from moto.server import ThreadedMotoServer

    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    url = f"http://{host}:{port}"
    assert requests.put(f"{url}/logs", timeout=30).status_code == 200
    yield url
    store.stop()


@pytest.fixture(scope="module")
def azure(modules, tmp_path_factory):  # noqa: F811
    from azure.storage.blob import BlobServiceClient

    place = tmp_path_factory.mktemp("azurite")
    azurite = subprocess.Popen(
        [shutil.which("node"), str(modules / "azurite/dist/src/blob/main.js"), "--blobPort", "0", "--blobHost", "127.0.0.1",
         "--location", str(place), "--skipApiVersionCheck", "--disableTelemetry", "--silent"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = None
    for line in azurite.stdout:
        if found := re.search(r"listens on (http://127\.0\.0\.1:\d+)", line):
            url = found.group(1)
            break
    assert url, "Azurite did not start"
    client = BlobServiceClient(f"{url}/{ACCOUNT}", credential=KEY)
    client.create_container("data")
    yield url, client
    azurite.terminate()
    azurite.wait(30)


@pytest.fixture(scope="module")
def stores(request, tmp_path_factory, s3, azure):
    server = Server.__new__(Server)
    data = tmp_path_factory.mktemp("stores") / "data"
    server.binary, server.data, server.process, server.url = request.config.getoption("--server"), data, None, None
    port = lambda url: url.split("//")[1]
    server.start("--set", f"external_urls={port(s3)},{port(azure[0])},s3://logs,*.blob.core.windows.net",
                 "--set", f"storage_endpoints=s3={s3},azure={azure[0]}")
    yield server
    server.stop()


def put(s3, key, body):
    assert requests.put(f"{s3}/logs/{key}", data=body, timeout=30).status_code == 200


def test_data_of_s3_is_ingested_and_queried(stores, s3):
    put(s3, "in/a b.csv", b"1,one\n2,two\n")
    put(s3, "in/c.csv.gz", gzip.compress(b"3,three\n"))
    call(stores, ".create table FromS3 (a:long, s:string)")
    call(stores, f".ingest into table FromS3 (h'{s3}/logs/in/a%20b.csv;{AWS}', h's3://logs/in/c.csv.gz;{AWS}') with (format='csv')")
    assert call(stores, "FromS3 | order by a asc") == [[1, "one"], [2, "two"], [3, "three"]]
    assert call(stores, f"externaldata (a:long, s:string) [h'{s3}/logs/in/c.csv.gz;{AWS}'] with (format='csv')") == [[3, "three"]]
    assert call(stores, f"externaldata (a:long, s:string) [h's3://logs/in/*.csv;{AWS}'] with (format='csv') | count") == [[2]]


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_an_external_table_with_partitions_is_written_and_read(stores, s3, azure, kind):
    place = {"s3": f"s3://logs/part;{AWS}", "azure": f"https://{ACCOUNT}.blob.core.windows.net/data/part;{KEY}"}[kind]
    call(stores, f".create-or-alter external table P{kind} (At:datetime, Who:string, N:long) kind=storage "
         "partition by (Day:datetime = startofday(At), Name:string = Who) "
         "pathformat = ('day=' datetime_pattern('yyyyMMdd', Day) '/who=' Name) dataformat=csv "
         f"(h'{place}') with (namePrefix='part', includeHeaders='All')")
    written = call(stores, f".export to table P{kind} <| range i from 0 to 9 step 1 "
                   "| project At=datetime(2026-01-01) + i * 6h, Who=iff(i % 2 == 0, 'even', 'o/dd'), N=i")
    paths = sorted(row[1] for row in written)
    assert len(paths) == 6 and sum(row[2] for row in written) == 10
    assert paths[0].startswith(place.split(";")[0] + "/day=20260101/who=even/part_1_"), paths
    read = call(stores, f"external_table('P{kind}') | summarize count(), sum(N) by Day=startofday(At), Who | order by Day asc, Who asc")
    assert [row[1:] for row in read] == [["even", 2, 2], ["o/dd", 2, 4], ["even", 2, 10], ["o/dd", 2, 12], ["even", 1, 8], ["o/dd", 1, 9]]
    assert len(call(stores, f".show external table P{kind} artifacts")) == 6
    shown = json.dumps(call(stores, f".show external table P{kind}"))
    assert "verysecretkey" not in shown and KEY not in shown


def test_an_export_goes_to_a_container_with_a_signature(stores, azure):
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas
    import datetime

    url, client = azure
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    sas = generate_container_sas(ACCOUNT, "data", account_key=KEY, permission=ContainerSasPermissions(True, True, True, list=True), expiry=until)
    files = call(stores, f".export to parquet (h'{url}/{ACCOUNT}/data/out?{sas}') with (namePrefix='numbers') <| range n from 1 to 1000 step 1")
    assert files[0][1] == 1000 and "sig=" not in files[0][0]
    name = files[0][0].split("/data/")[1]
    assert client.get_blob_client("data", name).get_blob_properties().size > 0
    assert call(stores, f"externaldata (n:long) [h'{url}/{ACCOUNT}/data/{name}?{sas}'] with (format='parquet') | summarize sum(n)") == [[500500]]
    # A large export goes up in parts.
    big = call(stores, f".export compressed to csv (h'https://{ACCOUNT}.blob.core.windows.net/data/big;{KEY}') <| "
               "range n from 1 to 300000 step 1 | extend t = strcat(hash(n), hash(n + 1), hash(n * 7))")
    assert sum(row[1] for row in big) == 300000


def test_a_stream_comes_from_an_address(stores, s3):
    put(s3, "stream/x.json", b'{"a": 5, "s": "five"}\n')
    call(stores, ".create table Streamed (a:long, s:string)")
    url = f"{stores.url}/v1/rest/ingest/NetDefaultDB/Streamed?streamFormat=json&sourceKind=uri"
    answer = requests.post(url, json={"sourceUri": f"s3://logs/stream/x.json;{AWS}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["Tables"][0]["Rows"][0][0] == 1
    for body in [{}, {"sourceUri": ""}, {"sourceUri": "/etc/passwd"}, [1]]:
        assert requests.post(url, json=body, timeout=60).status_code == 400
    assert call(stores, "Streamed") == [[5, "five"]]


def test_secrets_are_told_nowhere(stores, s3):
    for text in [f".ingest into table FromS3 (h'{s3}/logs/none.csv;{AWS}')", f"externaldata (a:long) [h's3://logs/none.csv;{AWS}']"]:
        refusal = call(stores, text, ok=False)
        assert "verysecretkey" not in refusal and "none.csv" in refusal
    time.sleep(0.5)
    journals = json.dumps([call(stores, ".show commands"), call(stores, ".show queries"), call(stores, ".show journal"),
                           call(stores, ".show ingestion failures"), call(stores, ".show data operations")])
    assert "verysecretkey" not in journals and KEY not in journals
    log = (stores.data.parent / "server.log").read_text()
    assert "verysecretkey" not in log and KEY not in log


def test_what_no_setting_allows_is_refused(stores):
    for place in ["s3://other/x.csv;" + AWS, "https://example.com/x.csv", "gs://bucket/x.csv", "http://169.254.169.254/latest;AwsCredentials=a,b"]:
        assert "denied by policy" in call(stores, f"externaldata (a:long) [h'{place}']", ok=False), place
    refusal = call(stores, "externaldata (a:long) [h'https://x.blob.core.windows.net/c/x.csv;managed_identity=system']", ok=False)
    assert "managed_identities" in refusal
    assert "impersonate" in call(stores, "externaldata (a:long) [h'https://x.blob.core.windows.net/c/x.csv;impersonate']", ok=False)


def test_files_of_a_store_are_listed_and_queued_by_commands(stores, s3):
    for n in range(3):
        put(s3, f"queue/year=2026/month=0{n + 1}/f{n}.csv", f"{n},x\n".encode())
    put(s3, "queue/year=2026/month=01/other.txt", b"no\n")
    call(stores, ".create table FromList (a:long, s:string)")
    place = f"s3://logs/queue;{AWS}"
    listed = call(stores, f'.list blobs (h"{place}") Suffix=".csv" MaxFiles=2 '
                  "PathFormat=(\"queue/year=\" datetime_pattern(\"yyyy'/month='MM\", creationTime) \"/\")")
    assert [row[0] for row in listed] == ["s3://logs/queue/year=2026/month=01/f0.csv", "s3://logs/queue/year=2026/month=02/f1.csv"]
    assert listed[1][1] == 4 and listed[1][2] == {"creationTime": "02/01/2026 00:00:00"}
    assert call(stores, f'.list blobs (h"{place}") | count') == [[4]]
    started = call(stores, ".ingest-from-storage-queued into table database('NetDefaultDB').FromList EnableTracking=true SkipBatching=true "
                   f"with (format='csv', tags='[\"listed\"]') <| .list blobs (h\"{place}\") Suffix='.csv'")
    operation = started[0][0]
    assert operation in started[0][2]
    show = lambda: call(stores, f'.show queued ingestion operations "{operation}"')[0]
    end = time.time() + 30
    while show()[5] and time.time() < end:
        time.sleep(0.2)
    assert show()[3:9] == ["Completed", 3, 0, 0, 3, 0] and show()[10:] == ["NetDefaultDB", "FromList"]
    assert [row[2] for row in call(stores, f".show queued ingestion operations '{operation}' details")] == ["Succeeded"] * 3
    assert call(stores, "FromList | count") == [[3]]
    # What waits for others can be given up.
    waiting = call(stores, f".ingest-from-storage-queued into table FromList EnableTracking=true with (format='csv') "
                   f"<| h's3://logs/queue/year=2026/month=01/f0.csv;{AWS}'")[0][0]
    assert call(stores, f".cancel queued ingestion operation '{waiting}'")[0][3] == "Canceled"
    assert call(stores, "FromList | count") == [[3]]
    assert "not found" in call(stores, ".show queued ingestion operations '00000000-0000-0000-0000-000000000001'", ok=False)
    for wrong in [".list blobs ('https://example.com/x')", f".ingest-from-storage-queued into table FromList Enable=1 <| h'{place}'",
                  ".ingest-from-storage-queued into table NoSuch <| 's3://logs/x'", ".cancel queued ingestion operation 'x'"]:
        call(stores, wrong, ok=False)


def test_delta_tables_in_stores_are_attached(stores, s3, azure, tmp_path):
    import deltalake
    import pyarrow as pa

    folder = tmp_path / "delta"
    for n in range(3):
        rows = pa.table({"a": [n * 2, n * 2 + 1], "s": [f"x{n}", "y"], "day": [f"2026-01-0{n + 1}"] * 2})
        deltalake.write_deltalake(str(folder), rows, partition_by=["day"], mode="append")
    deltalake.DeltaTable(str(folder)).create_checkpoint()
    rows = pa.table({"a": [100], "s": ["late"], "day": ["2026-01-09"]})
    deltalake.write_deltalake(str(folder), rows, mode="append")
    _, client = azure
    for path in folder.rglob("*"):
        if path.is_file():
            name = "delta/T/" + str(path.relative_to(folder))
            put(s3, name, path.read_bytes())
            client.get_blob_client("data", name).upload_blob(path.read_bytes(), overwrite=True)
    places = [f"s3://logs/delta/T;{AWS}", f"https://{ACCOUNT}.blob.core.windows.net/data/delta/T;{KEY}"]
    for n, place in enumerate(places):
        call(stores, f".create external table FromStore{n} kind=delta (h'{place}')")
        assert call(stores, f"external_table('FromStore{n}') | summarize count(), sum(a), dcount(day)") == [[7, 115, 4]]
        assert call(stores, f"external_table('FromStore{n}') | where day == '2026-01-02' | project a | sort by a asc") == [[2], [3]]
        assert call(stores, f"inline_external_table kind=delta (h'{place}') | where a == 100 | project s, day") == [["late", "2026-01-09"]]
    assert "no Delta table" in call(stores, f"inline_external_table kind=delta (h's3://logs/queue;{AWS}') | take 1", ok=False)
    call(stores, "inline_external_table kind=delta ('https://example.com/x') | take 1", ok=False)


def test_parquet_folders_in_stores_are_attached_with_partitions(stores, s3):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    for n in range(3):
        out = io.BytesIO()
        pq.write_table(pa.table({"a": [n, n + 10]}), out)
        put(s3, f"parquet/year=202{n}/part.parquet", out.getvalue())
    call(stores, ".create external table Years (a:long) kind=storage partition by (year:string) pathformat=(\"year=\" year) "
                 f"dataformat=parquet (h's3://logs/parquet;{AWS}')")
    assert call(stores, "external_table('Years') | summarize sum(a) by year | sort by year asc") == [["2020", 10], ["2021", 12], ["2022", 14]]
    assert call(stores, "external_table('Years') | where year == '2021' | count") == [[2]]
