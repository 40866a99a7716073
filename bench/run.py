#!/usr/bin/env python3
"""Tidewater against DuckDB and chDB on generated telemetry: the same data, the same threads, interleaved runs.

    run.py --server PATH/tidewater [--rows 10000000] [--runs 5] [--only TEXT] [--results bench/RESULTS.md]

Prints medians in milliseconds and Tidewater's time over the fastest peer's, then small-request latency,
ingestion and streaming rates. The server runs on loopback with a memory cap and is stopped at the end.
"""
import argparse
import datetime
import http.client
import json
import math
import os
import pathlib
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import duckdb

from queries import QUERIES

THREADS = os.cpu_count() or 1
SERVICES = 40

# Every value is a function of the row number, so that the data are the same on every machine.
TELEMETRY = """
SELECT
  TIMESTAMP '2026-01-01 00:00:00' + to_microseconds(CAST(i AS BIGINT) * {step} + h % {step}) AS Timestamp,
  CASE WHEN h % 1000 < 20 THEN 'Error' WHEN h % 1000 < 100 THEN 'Warning'
       WHEN h % 1000 < 101 THEN 'Critical' ELSE 'Information' END AS Level,
  'service-' || lpad(CAST(h2 % {services} AS VARCHAR), 2, '0') AS Service,
  'host-' || lpad(CAST(h2 % 997 AS VARCHAR), 4, '0') AS Host,
  lower(md5(CAST(i // 5 AS VARCHAR))) AS TraceId,
  CAST((h3 % 100000) / 100.0 + CASE WHEN h3 % 500 = 0 THEN (h % 3000000) / 100.0 ELSE 0 END AS DOUBLE) AS DurationMs,
  CAST(CASE WHEN h % 1000 < 20 THEN 500 + h2 % 4 WHEN h % 1000 < 100 THEN 404 ELSE 200 END AS INTEGER) AS Status,
  CASE h3 % 5
    WHEN 0 THEN 'GET /api/v1/items/' || CAST(h % 100000 AS VARCHAR) || ' answered in time for req' || CAST(i AS VARCHAR)
    WHEN 1 THEN 'POST /api/v1/orders accepted by worker ' || CAST(h2 % 64 AS VARCHAR) || ' for req' || CAST(i AS VARCHAR)
    WHEN 2 THEN 'cache miss for key user:' || CAST(h % 500000 AS VARCHAR) || ', fetched from the store'
    WHEN 3 THEN 'upstream ' || CASE WHEN h % 50 = 0 THEN 'Timeout after 3000 ms' ELSE 'answered' END || ', attempt ' || CAST(1 + h2 % 3 AS VARCHAR)
    ELSE 'connection ' || CASE WHEN h % 20 = 0 THEN 'reset by peer' ELSE 'kept open' END || ' on socket ' || CAST(h2 % 9000 AS VARCHAR)
  END AS Message,
  '{{"region":"' || (['eu-west','eu-north','us-east','us-west','ap-south'])[1 + h % 5] || '","user":{{"id":'
    || CAST(h2 % 50000 AS VARCHAR) || ',"plan":"' || (['free','team','pro'])[1 + h3 % 3] || '"}},"retries":'
    || CAST(h % 4 AS VARCHAR) || ',"sampled":' || CASE WHEN h % 2 = 0 THEN 'true' ELSE 'false' END || '}}' AS Properties
FROM (SELECT i, ((i * 2654435761) % 4294967291 * 40503 + i) % 1000000007 AS h,
             ((i * 2246822519 + 11) % 4294967291 * 51197 + i) % 1000000007 AS h2,
             ((i * 3266489917 + 29) % 4294967291 * 28657 + i) % 1000000007 AS h3
      FROM range({low}, {high}) t(i))
"""


def generate(folder, rows):
    """Parquet files of a million rows each; answers their paths and the raw size in bytes of the same rows as CSV."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {THREADS}")
    step = max(1, 7 * 86400 * 1_000_000 // rows)
    paths = []
    for low in range(0, rows, 1_000_000):
        path = folder / f"logs-{low // 1_000_000:04}.parquet"
        select = TELEMETRY.format(step=step, services=SERVICES, low=low, high=min(rows, low + 1_000_000))
        connection.execute(f"COPY ({select} ORDER BY Timestamp) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        paths.append(path)
    teams = folder / "teams.parquet"
    connection.execute(f"COPY (SELECT 'service-' || lpad(CAST(i AS VARCHAR), 2, '0') AS Service,"
                       f" 'team-' || CAST(i % 7 AS VARCHAR) AS Team FROM range({SERVICES}) t(i)) TO '{teams}' (FORMAT parquet)")
    return paths, teams


class Tidewater:
    name = "Tidewater"

    def __init__(self, binary, folder, memory_bytes):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.binary = binary
        cap = lambda: resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        self.process = subprocess.Popen([binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(folder / "tidewater")],
                                        preexec_fn=cap, stdout=subprocess.DEVNULL, stderr=open(folder / "server.log", "wb"))
        subprocess.run([binary, "wait", "--url", self.url], check=True, stdout=subprocess.DEVNULL)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def load(self, paths, teams):
        columns = ("Timestamp: datetime, Level: string, Service: string, Host: string, TraceId: string, DurationMs: real,"
                   " Status: int, Message: string, Properties: dynamic")
        self.post("/v1/rest/mgmt", {"db": "NetDefaultDB", "csl": f".create table Logs ({columns})"})
        began = time.perf_counter()
        for table, files in (("Logs", paths), ("Teams", [teams])):
            subprocess.run([self.binary, "load", *map(str, files), "--db", "NetDefaultDB", "--table", table, "--url", self.url],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The server closes connections that idle; the next request opens one.
        self.connection.close()
        return time.perf_counter() - began

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(data[:400])
        return data

    def run(self, query):
        data = json.loads(self.post("/v1/rest/query", {"db": "NetDefaultDB", "csl": query.kql}))
        if data.get("Exceptions"):
            raise RuntimeError(data["Exceptions"])
        return data["Tables"][0]["Rows"]

    def memory_bytes(self, key="VmRSS"):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class DuckDb:
    name = "DuckDB"

    def __init__(self, folder):
        self.connection = duckdb.connect(str(folder / "duck.db"))
        self.connection.execute(f"SET threads = {THREADS}; SET TimeZone = 'UTC'")

    def load(self, paths, teams):
        began = time.perf_counter()
        self.connection.execute(f"CREATE TABLE Logs AS SELECT * FROM read_parquet({[str(p) for p in paths]})")
        self.connection.execute(f"CREATE TABLE Teams AS SELECT * FROM read_parquet('{teams}')")
        self.connection.execute("CHECKPOINT")
        return time.perf_counter() - began

    def run(self, query):
        return [list(row) for row in self.connection.execute(query.duckdb).fetchall()]


class ChDb:
    name = "chDB"

    def __init__(self, folder):
        from chdb import session
        self.session = session.Session(str(folder / "chdb"))

    def load(self, paths, teams):
        began = time.perf_counter()
        self.session.query("CREATE DATABASE IF NOT EXISTS b")
        self.session.query("CREATE TABLE b.Logs (Timestamp DateTime64(6, 'UTC'), Level LowCardinality(String), Service LowCardinality(String),"
                           " Host LowCardinality(String), TraceId String, DurationMs Float64, Status Int32, Message String,"
                           " Properties String) ENGINE = MergeTree ORDER BY Timestamp")
        self.session.query("CREATE TABLE b.Teams (Service String, Team String) ENGINE = MergeTree ORDER BY Service")
        for path in paths:
            self.session.query(f"INSERT INTO b.Logs SELECT * FROM file('{path}', Parquet)")
        self.session.query(f"INSERT INTO b.Teams SELECT * FROM file('{teams}', Parquet)")
        return time.perf_counter() - began

    def run(self, query):
        text = (query.clickhouse or query.duckdb).replace("FROM Logs", "FROM b.Logs").replace("JOIN Teams", "JOIN b.Teams")
        answer = self.session.query(text + f" SETTINGS max_threads = {THREADS}", "JSONCompact")
        return json.loads(str(answer))["data"]


def cell(value):
    """A value as something comparable across engines."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, str):
        text = value.replace("T", " ").rstrip("Z") if len(value) >= 19 and value[4:5] == "-" and value[10:11] in "T " else value
        if len(text) >= 19 and text[4:5] == "-" and text[13:14] == ":":
            head, _, fraction = text.partition(".")
            return f"{head}.{(fraction + '000000')[:6]}"
        try:
            return float(text) if text.lstrip("-").replace(".", "", 1).isdigit() else text
        except ValueError:
            return text
    return float(value) if isinstance(value, (int, float)) else value


def same(left, right):
    if len(left) != len(right):
        return False
    for a, b in zip(left, right):
        if len(a) != len(b):
            return False
        for x, y in zip(map(cell, a), map(cell, b)):
            if isinstance(x, float) and isinstance(y, float):
                if not math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-9):
                    return False
            elif x != y:
                return False
    return True


def latency(server, count=2000):
    """Median microseconds of `print 1` and of the bare liveness handler over one kept connection."""
    def timed(call):
        times = []
        for _ in range(count):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1e6, statistics.quantiles(times, n=100)[98] * 1e6

    def ping():
        server.connection.request("GET", "/v1/rest/ping")
        server.connection.getresponse().read()

    return {"ping": timed(ping), "print 1": timed(lambda: server.post("/v2/rest/query", {"db": "NetDefaultDB", "csl": "print 1"}))}


def streaming(server, version):
    """MB/s and memory growth of a large answer read to its end."""
    body = {"db": "NetDefaultDB", "csl": "set notruncation; Logs | where Timestamp < datetime(2026-01-03)"}
    before = server.memory_bytes()
    began = time.perf_counter()
    server.connection.request("POST", f"/{version}/rest/query", json.dumps(body), {"Content-Type": "application/json"})
    answer = server.connection.getresponse()
    total, peak = 0, before
    while chunk := answer.read(1 << 20):
        total += len(chunk)
        peak = max(peak, server.memory_bytes())
    return total / 1e6 / (time.perf_counter() - began), total / 1e6, (peak - before) / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--profile", default="release", help="named in the results")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--memory-gb", type=int, default=12)
    parser.add_argument("--results", default=str(pathlib.Path(__file__).parent / "RESULTS.md"))
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tidewater-bench-"))
    lines = []

    def say(text=""):
        print(text, flush=True)
        lines.append(text)

    server = None
    try:
        paths, teams = generate(folder, options.rows)
        raw = duckdb.execute(f"SELECT sum(60 + length(Message) + length(Properties) + length(Service) + length(Host) + length(TraceId))"
                         f" FROM read_parquet({[str(p) for p in paths]})").fetchone()[0]
        server = Tidewater(options.server, folder, options.memory_gb << 30)
        engines = [server, DuckDb(folder), ChDb(folder)]
        say(f"## {datetime.date.today()}: {options.rows:,} rows, {THREADS} threads, {platform.machine()}, profile {options.profile}")
        say()
        say("Loading from Parquet (wall seconds): " + ", ".join(
            f"{e.name} {seconds:.1f}" + (f" ({options.rows / seconds:,.0f} rows/s, {float(raw) / 1e6 / seconds:.0f} MB/s of text)" if e is server else "")
            for e in engines for seconds in [e.load(paths, teams)]))
        say()
        say("| query | class | Tidewater ms | DuckDB ms | chDB ms | over the fastest |")
        say("|---|---|---|---|---|---|")
        trace = duckdb.execute(f"SELECT TraceId FROM read_parquet('{paths[-1]}') LIMIT 1 OFFSET 777").fetchone()[0]
        ratios, disagreements = [], []
        for query in QUERIES:
            if options.only.lower() not in query.name.lower():
                continue
            query.kql, query.duckdb = query.kql.replace("{trace}", trace), query.duckdb.replace("{trace}", trace)
            answers, times = {}, {engine.name: [] for engine in engines}
            for turn in range(options.runs + 1):
                for engine in engines:
                    began = time.perf_counter()
                    answers[engine.name] = engine.run(query)
                    if turn:
                        times[engine.name].append((time.perf_counter() - began) * 1000)
            for other in engines[1:]:
                mine, theirs = answers[server.name], answers[other.name]
                if not (len(mine) == len(theirs) if query.approximate else same(mine, theirs)):
                    disagreements.append(f"{query.name}: {mine[:3]} against {other.name}'s {theirs[:3]}")
            median = {name: statistics.median(values) for name, values in times.items()}
            ratio = median[server.name] / min(median[engine.name] for engine in engines[1:])
            ratios.append(ratio)
            say(f"| {query.name} | {query.kind} | {median['Tidewater']:.1f} | {median['DuckDB']:.1f} | {median['chDB']:.1f} | {ratio:.2f} |")
        say()
        say(f"Geometric mean over the fastest peer: {math.exp(statistics.fmean(map(math.log, ratios))):.2f}. "
            + ("All answers agree." if not disagreements else "DISAGREEMENTS: " + "; ".join(disagreements)))
        say()
        if not options.only:
            for name, (median, p99) in latency(server).items():
                say(f"- `{name}` over one kept connection: median {median:.0f} µs, 99th percentile {p99:.0f} µs")
            for version in ("v1", "v2"):
                rate, size, growth = streaming(server, version)
                say(f"- streaming {size:,.0f} MB of {version} JSON: {rate:.0f} MB/s, server memory grew by {growth:.0f} MB")
            say()
            results = pathlib.Path(options.results)
            head = "# Benchmark results\n\nBy `make bench`, newest first. What is measured: `bench/run.py`; the queries: `bench/queries.py`.\n\n"
            old = results.read_text().removeprefix(head) if results.exists() else ""
            results.write_text(head + "\n".join(lines) + "\n" + old)
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
