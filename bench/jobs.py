"""Speed of the Query Service API: list pages among many records, submissions while jobs run, results as Arrow and Parquet.

    python bench/jobs.py --server target/quick/tidewater --records 1000000
"""
import argparse
import json
import pathlib
import re
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.request
import uuid

HEADERS = {"x-gw-ims-org-id": "BENCH", "x-sandbox-name": "prod", "Content-Type": "application/json"}
BASE = "/data/foundation/query"


def call(url, method, path, body=None):
    request = urllib.request.Request(url + path, None if body is None else json.dumps(body).encode(), HEADERS, method=method)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())


def start(binary, data):
    process = subprocess.Popen([binary, "serve", "--listen", "127.0.0.1:0", "--data", str(data)], stdout=subprocess.PIPE, text=True)
    return process, re.search(r"(http://\S+)", process.stdout.readline()).group(1)


def stop(process):
    process.terminate()
    process.wait(60)


def fill(path, count):
    """Copies a finished record under new ids and times: what submitting them would have left."""
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT state, value, created FROM jobs WHERE kind = 'query'").fetchone()
        state, value, created = row
        connection.executemany(
            "INSERT INTO jobs VALUES ('query', ?, ?, ?, ?, ?, ?)",
            (("BENCH\nprod", str(uuid.uuid4()), created - n * 1000, created - n * 1000, state, value) for n in range(1, count + 1)))


def timed(work, times):
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return f"median {statistics.median(took):.1f} ms, worst {max(took):.1f} ms"


def finish(url, identity):
    while True:
        query = call(url, "GET", f"{BASE}/queries/{identity}")
        if query["state"] not in ("SUBMITTED", "IN_PROGRESS"):
            return query
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = pathlib.Path(directory) / "data"
        process, url = start(arguments.server, data)
        finish(url, call(url, "POST", f"{BASE}/queries", {"sql": "SELECT 1 AS x"})["id"])
        stop(process)
        store = next(path for path in data.glob("*.sqlite") if sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_master WHERE name = 'jobs'").fetchone()[0])
        fill(store, arguments.records)
        process, url = start(arguments.server, data)
        try:
            print("list page, newest:", timed(lambda: call(url, "GET", f"{BASE}/queries"), 50))
            middle = call(url, "GET", f"{BASE}/queries?limit=1")["queries"][0]["created"]
            print("list page, by updated:", timed(lambda: call(url, "GET", f"{BASE}/queries?orderby=updated&start={middle}"), 50))
            for n in range(50):
                call(url, "POST", f"{BASE}/queries", {"sql": f"SELECT count(*) FROM generate_series(1, 200000000) AS t(v) WHERE v % 7 = {n % 7}"})
            print("submission while 50 jobs run:", timed(lambda: call(url, "POST", f"{BASE}/queries", {"sql": "SELECT 1"}), 100))
            rows = {**HEADERS, "x-gw-ims-org-id": "ROWS"}
            request = urllib.request.Request(url + f"{BASE}/queries", json.dumps({"sql": f"SELECT value AS n, value * 1.5 AS f, concat('row ', value % 1000) AS s FROM generate_series(1, {arguments.rows})"}).encode(), rows)
            identity = json.loads(urllib.request.urlopen(request).read())["id"]
            while True:
                query = json.loads(urllib.request.urlopen(urllib.request.Request(url + f"{BASE}/queries/{identity}", headers=rows)).read())
                if query["state"] not in ("SUBMITTED", "IN_PROGRESS"):
                    break
                time.sleep(0.2)
            print("result:", query["state"], query["rowCount"], "rows in", query["elapsedTime"], "ms")
            for form in ("arrow", "parquet", "csv"):
                began, size = time.perf_counter(), 0
                answer = urllib.request.urlopen(urllib.request.Request(url + f"{BASE}/queries/{identity}/results?format={form}", headers=rows), timeout=600)
                while part := answer.read(1 << 20):
                    size += len(part)
                took = time.perf_counter() - began
                memory = re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{process.pid}/status").read()).group(1)
                print(f"{form}: {size / 1e6:.0f} MB in {took:.2f} s, {size / 1e6 / took:.0f} MB/s; peak of memory {int(memory) // 1024} MiB")
        finally:
            stop(process)


if __name__ == "__main__":
    main()
