"""Many clients that stream one row each: latency, and how many extents their rows take.

    python bench/streaming.py --server PATH [--clients 200] [--requests 20] [--data DIR]

Each client has a connection of its own and sends its next row when the last one is acknowledged; each row is durable and visible
then. The aim is a median under 100 ms with 200 clients. The server is started on an empty directory and stopped in the end; the run
ends after `--time` seconds whatever happens. One line of JSON tells the figures.
"""
import argparse
import http.client
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

DATABASE = "NetDefaultDB"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, text):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    path = "/v1/rest/mgmt" if text.startswith(".") else "/v1/rest/query"
    connection.request("POST", path, json.dumps({"db": DATABASE, "csl": text}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{text}: {body[:500]!r}")
    return json.loads(body)["Tables"][0]["Rows"]


def started(binary, data, port):
    server = subprocess.Popen([binary, "serve", "--listen", f"127.0.0.1:{port}", "--data", data],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            ask(port, ".show databases")
            return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise SystemExit("the server did not start")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=20, help="rows of each client")
    parser.add_argument("--time", type=float, default=120, help="seconds after which clients stop")
    parser.add_argument("--data")
    given = parser.parse_args()
    data, port = given.data or tempfile.mkdtemp(prefix="tidewater-streaming-"), free_port()
    server = started(given.server, data, port)
    try:
        ask(port, ".create table T (client: long, n: long)")
        before = int(ask(port, "print cursor_current()")[0][0])
        latencies, faults = [], []
        gate, stop = threading.Barrier(given.clients + 1), time.monotonic() + given.time

        def client(number):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.connect()
            gate.wait()
            own = []
            for n in range(given.requests):
                if time.monotonic() > stop:
                    break
                began = time.monotonic()
                connection.request("POST", f"/v1/rest/ingest/{DATABASE}/T?streamFormat=csv", f"{number},{n}\n")
                answer = connection.getresponse()
                body = answer.read()
                own.append(time.monotonic() - began)
                if answer.status != 200:
                    faults.append(body[:200])
                    break
            connection.close()
            latencies.extend(own)

        threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(given.clients)]
        for thread in threads:
            thread.start()
        gate.wait()
        began = time.monotonic()
        for thread in threads:
            thread.join(given.time + 60)
        seconds = time.monotonic() - began
        # A cursor counts commits, with room for the extents of each.
        made = int(ask(port, "print cursor_current()")[0][0]) - before >> 20
        rows, doubles = ask(port, "T | summarize c = count() by client, n | summarize sum(c), countif(c > 1)")[0]
        left = ask(port, ".show table T extents | count")[0][0]
        latencies.sort()
        figures = {
            "clients": given.clients, "rows": rows, "twice": doubles, "faults": len(faults), "seconds": round(seconds, 2),
            "rows_per_second": round(rows / seconds), "median_ms": round(statistics.median(latencies) * 1000, 1),
            "p95_ms": round(latencies[int(len(latencies) * 0.95)] * 1000, 1), "commits": made, "extents_left": left,
        }
        print(json.dumps(figures))
        return 1 if faults or doubles or rows != len(latencies) else 0
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        if not given.data:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
