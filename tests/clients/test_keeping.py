"""Keeping data: merges, damage, checks, backups, dropped tables, the Delta mirror after many commits."""
import concurrent.futures
import glob
import json
import os
import pathlib
import sqlite3
import time
import urllib.error
import urllib.request

import deltalake
import duckdb
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


def fails(server, text):
    with pytest.raises(urllib.error.HTTPError) as error:
        run(server, text)
    return error.value.code, error.value.read().decode()


def test_two_hundred_clients_of_one_row_each_leave_few_files(own_server):
    run(own_server, ".create table T (n: long)")

    def send(n):
        started = time.monotonic()
        post(own_server.url, f"/v1/rest/ingest/{DB}/T?streamFormat=csv", f"{n}\n".encode())
        return time.monotonic() - started

    commits = lambda: int(run(own_server, "print cursor_current()")[0][0]) >> 20
    before = commits()
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        list(pool.map(send, range(1000)))
    # Rows that come together are one commit; merges of what they leave are among them.
    assert commits() - before < 500
    assert run(own_server, "T | summarize count(), dcount(n), sum(n)") == [[1000, 1000, 499500]]
    deadline = time.monotonic() + 60
    while (count := run(own_server, ".show table T extents | count")[0][0]) > 56:
        assert time.monotonic() < deadline, f"{count} extents are left"
        time.sleep(1)
    assert run(own_server, "T | summarize count(), dcount(n), sum(n)") == [[1000, 1000, 499500]]


def test_merges_are_operations_and_obey_their_policy(own_server):
    for name in ("Free", "Bound"):
        run(own_server, f".create table {name} (n: long)")
    run(own_server, """.alter table Bound policy merge '{"AllowMerge": false, "AllowRebuild": false}'""")
    for name in ("Free", "Bound"):
        for n in range(40):
            run(own_server, f".ingest inline into table {name} <| {n}")
    deadline = time.monotonic() + 60
    while run(own_server, ".show table Free extents | count")[0][0] > 20:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert run(own_server, ".show table Bound extents | count") == [[40]]
    merges = run(own_server, ".show operations | where Operation == 'ExtentsMerge' | project State, Database")
    assert merges and all(row == ["Completed", DB] for row in merges)
    assert run(own_server, "Free | summarize count(), sum(n)") == [[40, 780]]


def test_damage_of_one_table_is_told_and_the_others_work(own_server):
    run(own_server, ".set Good <| range n from 1 to 10 step 1")
    run(own_server, ".set Bad <| range n from 1 to 100000 step 1 | extend s = strcat('text ', n)")
    run(own_server, ".set Gone <| range n from 1 to 10 step 1")
    # A file is told by its extent.
    extent = {name: run(own_server, f".show table {name} extents | project ExtentId")[0][0] for name in ("Bad", "Gone")}
    own_server.stop()
    (bad,) = glob.glob(f"{own_server.data}/databases/*/*/{extent['Bad']}.parquet")
    (gone,) = glob.glob(f"{own_server.data}/databases/*/*/{extent['Gone']}.parquet")
    content = bytearray(pathlib.Path(bad).read_bytes())
    for at in range(100, len(content) // 2):
        content[at] ^= 0x5A
    pathlib.Path(bad).write_bytes(content)
    os.remove(gone)
    log = pathlib.Path(bad).parent / "_delta_log" / "00000000000000000000.json"
    log.write_text("{ damaged")
    own_server.start()
    for table in ("Bad", "Gone"):
        code, text = fails(own_server, f"{table} | summarize sum(n), max(strlen(tostring(n)))")
        assert code in (400, 500) and extent[table] in text or "error" in text.lower(), text
    assert run(own_server, "Good | count") == [[10]]
    run(own_server, ".set-or-append Good <| print n = 11")
    run(own_server, ".set New <| print n = 1")
    assert run(own_server, "Good | summarize sum(n)") == [[66]]
    own_server.stop()
    done = own_server.cli("fsck", "--data", own_server.data, "--deep", "--json", "--repair")
    assert done.returncode == 1, done
    report = json.loads(done.stdout)
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert sorted(finding["place"] for finding in errors) == [f"{DB}.Bad", f"{DB}.Gone"]
    assert not any(finding["repaired"] for finding in errors)


def test_a_damaged_catalog_is_not_served_and_a_backup_brings_it_back(own_server, tmp_path):
    run(own_server, ".set T <| range n from 1 to 1000 step 1")
    done = own_server.cli("backup", "--data", own_server.data, tmp_path / "backup")
    assert done.returncode == 0 and "1 data files" in done.stdout, done
    run(own_server, ".set-or-append T <| print n = 1001")
    done = own_server.cli("backup", "--data", own_server.data, tmp_path / "backup")
    assert done.returncode == 0 and "1 of them new" in done.stdout, done
    own_server.stop()
    catalog = pathlib.Path(own_server.data, "catalog.sqlite")
    with sqlite3.connect(catalog) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    content = bytearray(catalog.read_bytes())
    content[100:] = bytes(len(content) - 100)
    catalog.write_bytes(content)
    done = own_server.cli("fsck", "--data", own_server.data)
    assert done.returncode in (1, 2), done
    done = own_server.cli("serve", "--listen", "127.0.0.1:0", "--data", own_server.data, timeout=60)
    assert done.returncode != 0 and "catalog" in (done.stdout + done.stderr).lower(), done
    back = tmp_path / "back"
    done = own_server.cli("restore", "--data", back, tmp_path / "backup")
    assert done.returncode == 0, done
    assert own_server.cli("fsck", "--data", back, "--deep").returncode == 0
    own_server.data = back
    own_server.start()
    assert run(own_server, "T | summarize count(), sum(n)") == [[1001, 501501]]


def test_checks_refuse_what_is_in_use_and_what_is_newer(own_server, tmp_path):
    run(own_server, ".set T <| print n = 1")
    done = own_server.cli("fsck", "--data", own_server.data)
    assert done.returncode == 2 and "in use" in done.stderr, done
    own_server.stop()
    assert own_server.cli("fsck", "--data", own_server.data).returncode == 0
    assert own_server.cli("fsck", "--data", tmp_path / "nothing").returncode == 2
    pathlib.Path(own_server.data, "tidewater.version").write_text('{"format": 7, "version": "9.0.0"}')
    for command in ("fsck", "serve"):
        done = own_server.cli(command, "--data", own_server.data, timeout=60)
        assert done.returncode != 0 and "format 7" in done.stderr + done.stdout, done


def test_a_dropped_table_comes_back_from_the_version_of_the_journal(own_server):
    run(own_server, ".set T <| range n from 1 to 10 step 1")
    run(own_server, ".alter table T docstring 'kept'")
    run(own_server, ".drop table T")
    fails(own_server, "T")
    text = f".show database {DB} journal | where Event == 'DROP-TABLE' and EntityName == 'T' | project OriginalEntityVersion"
    ((version,),) = run(own_server, text)
    own_server.kill()
    own_server.start()
    rows = run(own_server, f'.undo drop table T as U version="{version}"')
    assert [row[1:] for row in rows] == [[10, "Recovered", ""]]
    assert run(own_server, "U | summarize count(), sum(n)") == [[10, 55]]
    code, text = fails(own_server, f'.undo drop table T version="{version}"')
    assert code == 400 and "not dropped" in text


def test_other_engines_read_the_mirror_after_many_commits(own_server):
    run(own_server, ".create table T (n: long, s: string)")
    for n in range(230):
        run(own_server, f".ingest inline into table T <| {n},x{n}")
        time.sleep(0.02)
    deadline = time.monotonic() + 60
    while True:
        (log,) = [path for path in glob.glob(f"{own_server.data}/databases/*/*/_delta_log") if glob.glob(f"{path}/../*.parquet")]
        folder = os.path.dirname(log)
        try:
            found = deltalake.DeltaTable(folder).to_pyarrow_table()
            (rows,) = duckdb.sql("select count(*), sum(n) from found").fetchall()
        except OSError as error:
            # A merge has taken files of the version that was being read.
            rows = error
        if rows == (230, sum(range(230))):
            break
        assert time.monotonic() < deadline, rows
        time.sleep(0.5)
