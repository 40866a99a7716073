"""Many at once: writers while tables change, readers while tables are replaced and extents move, damage of the catalog."""
import concurrent.futures
import json
import pathlib
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

DB = "NetDefaultDB"


def post(url, path, body, timeout=120):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def run(server, text):
    path = "/v1/rest/mgmt" if text.startswith(".") else "/v1/rest/query"
    return post(server.url, path, {"db": DB, "csl": text})["Tables"][0]["Rows"]


def test_thirty_two_writers_while_columns_and_names_change(own_server):
    run(own_server, ".create table T (writer: long, n: long, extra: long)")
    run(own_server, ".create table U (writer: long, n: long, extra: long)")
    enough, acknowledged, failed = threading.Event(), [], []

    def write(writer):
        for n in range(15):
            while True:
                try:
                    if n % 3 == 0:
                        run(own_server, f".ingest inline into table T <| {writer},{n},7")
                    elif n % 3 == 1:
                        post(own_server.url, f"/v1/rest/ingest/{DB}/T?streamFormat=csv", f"{writer},{n},7\n".encode())
                    else:
                        run(own_server, ".ingest inline into table T with (format='json') <| " + json.dumps({"writer": writer, "n": n}))
                    acknowledged.append((writer, n))
                except urllib.error.HTTPError as error:
                    # More at once than the capacity lets in.
                    if error.code == 429:
                        time.sleep(0.05)
                        continue
                    failed.append(error.read().decode())
                break

    changes = 0

    def change():
        nonlocal changes
        while not enough.is_set():
            name = f"c{changes}"
            run(own_server, f".alter-merge table T ({name}: string)")
            run(own_server, f".alter-merge table U ({name}: string)")
            run(own_server, f".rename column T.{name} to d{changes}")
            run(own_server, f".alter column U.{name} type = long")
            run(own_server, ".rename tables T = U, U = T")
            run(own_server, ".alter table T docstring 'changed'")
            changes += 1

    with concurrent.futures.ThreadPoolExecutor(33) as pool:
        changing = pool.submit(change)
        for done in [pool.submit(write, writer) for writer in range(32)]:
            done.result()
        enough.set()
        changing.result()
    assert changes > 0
    assert not failed, failed[:3]
    found = sorted((writer, n) for writer, n in run(own_server, "union T, U | project writer, n"))
    assert found == sorted(acknowledged)
    names = {row[0] for row in run(own_server, "T | getschema | project ColumnName")}
    assert {"writer", "n", "extra"} <= names and len(names) == 3 + changes
    own_server.stop()
    report = json.loads(own_server.cli("fsck", "--data", own_server.data, "--deep", "--json").stdout)
    # Files that merges have left may wait for the next start.
    assert not [finding for finding in report["findings"] if finding["severity"] == "error"], report
    own_server.start()
    assert sorted((writer, n) for writer, n in run(own_server, "union T, U | project writer, n")) == found


def test_readers_see_a_table_before_or_after_its_replacement_and_moves_whole(own_server):
    run(own_server, ".set-or-replace T <| range n from 1 to 1000 step 1 | extend v = 0")
    for n in range(4):
        run(own_server, f".set-or-append A <| range n from {n * 25} to {n * 25 + 24} step 1")
    run(own_server, ".create table B (n: long)")
    enough, seen = threading.Event(), []

    def read():
        while not enough.is_set():
            seen.append((run(own_server, "T | summarize c = count(), d = dcount(v)")[0],
                         run(own_server, "union A, B | summarize count(), sum(n)")[0]))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(6)]
        for value in range(1, 16):
            run(own_server, f".set-or-replace T <| range n from 1 to 1000 step 1 | extend v = {value}")
            one, other = ("A", "B") if value % 2 else ("B", "A")
            run(own_server, f".move extents all from table {one} to table {other}")
        enough.set()
        for reader in readers:
            reader.result()
    assert len(seen) >= 6
    assert all(row == ([1000, 1], [100, 4950]) for row in seen), [row for row in seen if row != ([1000, 1], [100, 4950])][:3]
    assert run(own_server, "T | summarize min(v), max(v)") == [[15, 15]]


def test_a_damaged_page_of_the_catalog_is_told_at_the_start(own_server):
    for n in range(60):
        run(own_server, f".create table T{n} (a: long, b: string) with (docstring='{'x' * 200}')")
    own_server.stop()
    catalog = pathlib.Path(own_server.data, "catalog.sqlite")
    with sqlite3.connect(catalog) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = 'tables'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(catalog.read_bytes())
    content[(root - 1) * size: root * size] = bytes([0x5A]) * size
    catalog.write_bytes(content)
    done = own_server.cli("fsck", "--data", own_server.data, "--json")
    assert done.returncode == 1 and "catalog.sqlite" in done.stdout, done
    done = own_server.cli("serve", "--listen", "127.0.0.1:0", "--data", own_server.data, timeout=60)
    text = (done.stdout + done.stderr).lower()
    assert done.returncode != 0 and ("malformed" in text or "catalog" in text) and "panicked" not in text, done


def test_a_read_only_data_directory_is_told_at_the_start(own_server):
    run(own_server, ".set T <| range n from 1 to 100 step 1")
    own_server.stop()
    mounted = subprocess.run(["mount", "--bind", str(own_server.data), str(own_server.data)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(own_server.data)], check=True)
        done = own_server.cli("serve", "--listen", "127.0.0.1:0", "--data", own_server.data, timeout=60)
        text = done.stdout + done.stderr
        assert done.returncode != 0 and "read-only" in text.lower() and "panicked" not in text, done
        subprocess.run(["mount", "-o", "remount,rw,bind", str(own_server.data)], check=True)
        own_server.start()
        assert run(own_server, "T | summarize count(), sum(n)") == [[100, 5050]]
        run(own_server, ".set-or-append T <| print n = 101")
        assert run(own_server, "T | summarize count(), sum(n)") == [[101, 5151]]
    finally:
        own_server.stop()
        subprocess.run(["umount", str(own_server.data)], check=False)
