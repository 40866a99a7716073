"""What a server promises about data: acknowledged rows survive a kill, none twice; others can read the tables."""
import concurrent.futures
import json
import pathlib
import threading
import urllib.error
import urllib.request

import duckdb
import deltalake

DB = "NetDefaultDB"


def post(url, path, body, timeout=60):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def command(server, text):
    return post(server.url, "/v1/rest/mgmt", {"db": DB, "csl": text})["Tables"][0]["Rows"]


def query(server, text):
    return post(server.url, "/v1/rest/query", {"db": DB, "csl": text})["Tables"][0]["Rows"]


def test_acknowledged_rows_survive_a_kill_and_none_comes_twice(own_server):
    command(own_server, ".create table T (writer: long, n: long)")
    acknowledged, attempted, enough = set(), set(), threading.Event()

    def write(writer):
        for n in range(1000):
            row = f"{writer},{n}\n".encode()
            attempted.add((writer, n))
            try:
                post(own_server.url, f"/v1/rest/ingest/{DB}/T?streamFormat=csv", row)
            except (urllib.error.URLError, ConnectionError, OSError, ValueError):
                return
            acknowledged.add((writer, n))
            if len(acknowledged) >= 60:
                enough.set()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(write, writer) for writer in range(4)]
        assert enough.wait(120), "the server took too few rows"
        own_server.kill()
        for future in running:
            future.result()
    own_server.start()
    found = [tuple(row) for row in query(own_server, "T")]
    assert len(found) == len(set(found)), "rows came twice"
    assert acknowledged <= set(found), "acknowledged rows are missing"
    assert set(found) <= attempted


def test_a_restart_finds_everything(own_server):
    command(own_server, ".create database Other")
    command(own_server, ".create table T (a: long, t: datetime, d: dynamic) with (folder = 'f', docstring = 'about')")
    command(own_server, ".ingest inline into table T <| 1,2020-01-02T03:04:05.1234567Z,\"{\"\"k\"\":1}\"")
    before = query(own_server, "T"), command(own_server, ".show tables"), command(own_server, ".show databases")
    own_server.stop()
    own_server.start()
    after = query(own_server, "T"), command(own_server, ".show tables"), command(own_server, ".show databases")
    assert before == after
    assert before[0] == [[1, "2020-01-02T03:04:05.1234567Z", {"k": 1}]]


def test_duckdb_and_delta_rs_read_the_tables(own_server):
    command(own_server, ".create table T (a: long, s: string, t: datetime, r: real)")
    command(own_server, ".ingest inline into table T <| 1,x,2020-01-02,1.5\n2,y,2021-01-02 03:04:05,2.5")
    command(own_server, ".ingest inline into table T <| 3,z,2022-01-02,3.5")
    # A clean stop writes out the mirror.
    own_server.stop()
    logs = list(pathlib.Path(own_server.data).rglob("_delta_log"))
    assert len(logs) == 1
    folder = str(logs[0].parent)
    rows = deltalake.DeltaTable(folder).to_pyarrow_table().sort_by("a").to_pylist()
    assert [(row["a"], row["s"], row["r"]) for row in rows] == [(1, "x", 1.5), (2, "y", 2.5), (3, "z", 3.5)]
    assert rows[1]["t"].isoformat().startswith("2021-01-02T03:04:05")
    connection = duckdb.connect()
    files = deltalake.DeltaTable(folder).file_uris()
    assert connection.execute(f"SELECT sum(a) FROM read_parquet({files})").fetchone() == (6,)
    own_server.start()


def test_a_large_answer_streams_with_flat_memory(own_server):
    # About 30 MB of JSON a version in this suite; the benchmark reads a gigabyte.
    for version in ("v1", "v2"):
        body = {"db": DB, "csl": "set notruncation; range x from 1 to 300000 step 1 | extend s = strcat('some text about ', x), y = x * 2"}
        before = own_server.memory_bytes()
        request = urllib.request.Request(own_server.url + f"/{version}/rest/query", json.dumps(body).encode(), {"Content-Type": "application/json"})
        total, peak = 0, before
        with urllib.request.urlopen(request, timeout=300) as answer:
            while chunk := answer.read(1 << 20):
                total += len(chunk)
                peak = max(peak, own_server.memory_bytes())
        assert total > 10_000_000
        assert peak - before < 200_000_000
