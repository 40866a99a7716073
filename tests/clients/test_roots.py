"""Databases at roots: in an S3-compatible and an Azure-compatible store of the package registries, and on another disk."""
import json
import random
import subprocess
import threading
import time

import pytest
import requests
from conftest import Server
from test_js import modules  # noqa: F401 (a fixture)
from test_stores import ACCOUNT, AWS, KEY, azure, call  # noqa: F401

BUCKET = "warehouse"


class Store:
    """The S3 server, which can be stopped and started again with what it holds."""

    def __init__(self):
        self.port, self.server = 0, None
        self.start()
        assert requests.put(f"{self.url}/{BUCKET}", timeout=30).status_code == 200

    def start(self):
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.server.stop()

    def client(self):
        import boto3

        return boto3.client("s3", endpoint_url=self.url, aws_access_key_id="TESTKEYID", aws_secret_access_key="x", region_name="us-east-1")

    def keys(self, prefix="", suffix=".parquet"):
        found = []
        for page in self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            found += [item["Key"] for item in page.get("Contents", [])]
        return [key for key in found if key.endswith(suffix) and "_delta_log" not in key]


@pytest.fixture(scope="module")
def s3():
    store = Store()
    yield store
    store.stop()


@pytest.fixture
def place(request, tmp_path, s3):
    """A server whose databases `Far` and `Near` lie elsewhere."""
    server = Server.__new__(Server)
    server.binary, server.data, server.process, server.url = request.config.getoption("--server"), tmp_path / "data", None, None
    (tmp_path / "disk").mkdir()
    (tmp_path / "more").mkdir()
    server.prefix = f"p{random.randrange(10**9)}"
    server.settings = [
        "--set", f"storage_endpoints=s3={s3.url}",
        "--set", f"database_roots=Far=s3://{BUCKET}/{server.prefix};{AWS} Near=file://{tmp_path}/disk file://{tmp_path}/more",
    ]
    server.start(*server.settings)
    yield server
    if server.process and server.process.poll() is None:
        server.stop()


def restart(server, kill=False):
    if kill:
        server.process.kill()
        server.process.wait(30)
    else:
        server.stop()
    server.start(*server.settings)


def test_databases_of_settings_are_made_at_their_roots(place, s3, tmp_path):
    shown = {row[0]: row[1] for row in call(place, ".show databases")}
    assert shown["Far"] == f"s3://{BUCKET}/{place.prefix}" and shown["Near"] == f"file://{tmp_path}/disk" and shown["NetDefaultDB"] == ""
    for database in ["Far", "Near", "NetDefaultDB"]:
        call(place, ".set T <| range n from 1 to 50000 step 1 | extend s=strcat('row ', n), t=datetime(2026-01-01) + n * 1s", database)
        assert call(place, "T | where n between (10 .. 20) | summarize sum(n)", database) == [[165]]
        assert call(place, "T | top 2 by t | project n", database) == [[50000], [49999]]
    assert len(s3.keys(place.prefix)) == 1 and len(list((tmp_path / "disk").rglob("*.parquet"))) == 1
    call(place, ".append T <| T", "Far")
    call(place, ".delete table T records <| T | where n % 2 == 0", "Far")
    call(place, ".create table U (n:long, s:string, t:datetime)", "Far")
    call(place, ".move extents all from table T to table U", "Far")
    assert call(place, "U | summarize count(), sum(n)", "Far") == [[50000, 2 * 625000000]]
    assert call(place, "union database('Far').U, database('Near').T, T | count") == [[150000]]
    restart(place)
    assert call(place, "U | summarize count(), dcount(s, 4)", "Far")[0][0] == 50000
    call(place, ".drop table U", "Far")
    call(place, ".undo drop table U version=\"v24.3\"", "Far", ok=False)
    refused = call(place, ".create database X persist (@'s3://elsewhere/md', @'s3://elsewhere/data')", ok=False)
    assert "database_roots" in refused
    assert "belongs into the setting" in call(place, f".create database X persist (@'s3://{BUCKET}/{place.prefix};{AWS}')", ok=False)
    made = call(place, f".create database X persist (@'{tmp_path}/more/md', @'{tmp_path}/more/X')")
    assert made[0][:2] == ["X", f"file://{tmp_path}/more/X"]
    call(place, ".set T <| print 1", "X")
    assert len(list((tmp_path / "more/X").rglob("*.parquet"))) == 1
    assert call(place, ".create database Old persist (@'/kustodata/md', @'/kustodata/data')")[0][1] == ""
    assert call(place, ".create database Light volatile")[0][1] == ""
    shown = json.dumps(call(place, ".show databases details")) + (place.data.parent / "server.log").read_text()
    assert "verysecretkey" not in shown


def test_a_killed_server_keeps_what_it_acknowledged_and_sweeps_the_rest(place, s3):
    call(place, ".create table T (n:long, s:string)", "Far")
    acknowledged, stop = [], threading.Event()

    def ingest(worker):
        n = 0
        while not stop.is_set():
            value = worker * 10**6 + n
            try:
                answer = requests.post(f"{place.url}/v1/rest/ingest/Far/T?streamFormat=csv", data=f"{value},x\n", timeout=30)
            except requests.RequestException:
                return
            if answer.status_code == 200:
                acknowledged.append(value)
            n += 1

    for round in range(3):
        stop.clear()
        threads = [threading.Thread(target=ingest, args=(round * 10 + worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        place.process.kill()
        stop.set()
        for thread in threads:
            thread.join()
        place.process.wait(30)
        place.start(*place.settings)
    rows = [row[0] for row in call(place, "T | project n", "Far")]
    assert len(rows) == len(set(rows)) and set(acknowledged) <= set(rows) and len(acknowledged) > 10
    # In the end the store holds the files that are named, and no others.
    named = lambda: call(place, ".show tables details | project TotalExtents", "Far")[0][0]
    end = time.time() + 60
    while len(s3.keys(place.prefix)) != named() and time.time() < end:
        time.sleep(0.5)
    assert len(s3.keys(place.prefix)) == named()
    place.stop()
    found = subprocess.run([place.binary, "fsck", "--data", str(place.data), "--deep", *place.settings], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_store_that_is_down_gives_a_clear_error_and_other_databases_work(place, s3):
    for database in ["Far", "Near"]:
        call(place, ".set T <| range n from 1 to 10 step 1", database)
    s3.stop()
    try:
        for text in ["T | count | project Count", "T | summarize sum(n)", ".append T <| print n=1"]:
            answer = call(place, text, "Far", ok=False) if "sum" in text or "append" in text else ""
            assert not answer or "cannot be reached" in answer and place.prefix in answer, answer
        assert call(place, "T | summarize sum(n)", "Near") == [[55]]
        call(place, ".append T <| print n=45", "Near")
        restart(place)
        assert call(place, "T | summarize sum(n)", "Near") == [[100]]
        assert "cannot be reached" in call(place, "T | summarize sum(n)", "Far", ok=False)
    finally:
        s3.start()
    assert call(place, "T | summarize sum(n)", "Far") == [[55]]
    call(place, ".append T <| print n=45", "Far")
    assert call(place, "T | summarize sum(n)", "Far") == [[100]]


def test_a_backup_holds_what_lies_elsewhere(place, tmp_path):
    for database in ["Far", "Near"]:
        call(place, ".set T <| range n from 1 to 1000 step 1", database)
    backup, back = tmp_path / "backup", tmp_path / "back"
    run = lambda *words: subprocess.run([place.binary, *words], capture_output=True, text=True, timeout=120)
    refused = run("backup", "--data", str(place.data), str(backup))
    assert refused.returncode != 0 and "database_roots" in refused.stderr
    done = run("backup", "--data", str(place.data), str(backup), *place.settings)
    assert done.returncode == 0, done.stderr
    assert run("restore", "--data", str(back), str(backup)).returncode == 0
    place.stop()
    place.data, settings = back, place.settings
    place.start()
    for database in ["Far", "Near"]:
        assert call(place, "T | summarize sum(n)", database) == [[500500]]
        assert [row[1] for row in call(place, ".show databases") if row[0] == database] == [""]


def test_the_mirror_in_a_store_is_read_by_delta_rs(place, s3):
    import deltalake

    call(place, ".create table T (n:long, s:string)", "Far")
    for n in range(5):
        call(place, f".append T <| print n={n}, s='x{n}'", "Far")
    options = {"AWS_ENDPOINT_URL": s3.url, "AWS_ACCESS_KEY_ID": "TESTKEYID", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1",
               "AWS_ALLOW_HTTP": "true", "AWS_S3_ALLOW_UNSAFE_RENAME": "true"}
    folder = s3.keys(place.prefix)[0].rsplit("/", 1)[0]
    end = time.time() + 20
    while True:
        try:
            rows = deltalake.DeltaTable(f"s3://{BUCKET}/{folder}", storage_options=options).to_pyarrow_table().column("n").to_pylist()
        except Exception:
            rows = []
        if len(rows) == 5 or time.time() > end:
            break
        time.sleep(0.3)
    assert sorted(rows) == [0, 1, 2, 3, 4]


def test_a_database_lies_in_azures_store(request, tmp_path, azure):  # noqa: F811
    url, client = azure
    server = Server.__new__(Server)
    server.binary, server.data, server.process, server.url = request.config.getoption("--server"), tmp_path / "data", None, None
    settings = ["--set", f"storage_endpoints=azure={url}", "--set", f"database_roots=Blue=https://{ACCOUNT}.blob.core.windows.net/data/db;{KEY}"]
    server.start(*settings)
    call(server, ".set T <| range n from 1 to 400000 step 1 | extend s=strcat(hash(n), '-', hash(n + 7), hash(n * 3))", "Blue")
    assert call(server, "T | where n > 399990 | summarize count(), max(n)", "Blue") == [[10, 400000]]
    server.process.kill()
    server.process.wait(30)
    server.start(*settings)
    assert call(server, "T | summarize sum(n)", "Blue") == [[80000200000]]
    names = [blob.name for blob in client.get_container_client("data").list_blobs(name_starts_with="db/")]
    assert any(name.endswith(".parquet") for name in names)
    call(server, ".drop table T", "Blue")
    call(server, ".drop database Blue")
    server.stop()
    server.start("--set", f"storage_endpoints=azure={url}", "--set", f"database_roots=https://{ACCOUNT}.blob.core.windows.net/data/db;{KEY}")
    end = time.time() + 30
    left = lambda: [blob.name for blob in client.get_container_client("data").list_blobs(name_starts_with="db/")]
    while left() and time.time() < end:
        time.sleep(0.3)
    assert left() == []
    server.stop()
