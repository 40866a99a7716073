"""A soak: clients that ingest, query, merge, alter and drop, while the server is killed every now and then.

Every acknowledged row must be there once when it ends, nothing may be there twice, and memory, threads and open files
must not grow. `make soak TIME=1200` runs it for twenty minutes.

    python tests/soak/soak.py --server PATH [--time SECONDS] [--kill-every SECONDS] [--writers N] [--data DIR]
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

DATABASE = "Soak"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Fault(Exception):
    """The server refused: an answer, not a broken connection."""


class Server:
    """A server process that can be killed and started again."""

    def __init__(self, binary, data):
        self.binary, self.data, self.port = binary, data, free_port()
        self.process, self.kills, self.log = None, 0, open(os.path.join(data + ".log"), "ab")
        self.up = threading.Event()

    def start(self):
        arguments = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.data]
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}; see {self.log.name}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2).read()
                self.up.set()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server did not become ready within 60 seconds")

    def kill(self):
        self.up.clear()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1

    def stop(self):
        self.up.clear()
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit("the server did not stop within 60 seconds of SIGTERM") from None

    def post(self, path, body, content="application/json; charset=utf-8"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": content})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Fault(error.read().decode("utf-8", "replace")[:2000]) from None

    def run(self, text, database=DATABASE):
        path = "/v1/rest/mgmt" if text.startswith(".") else "/v1/rest/query"
        body = json.dumps({"db": database, "csl": text}).encode()
        return json.loads(self.post(path, body))["Tables"][0]["Rows"]

    def ingest(self, table, rows):
        text = "\n".join(json.dumps(row) for row in rows).encode()
        self.post(f"/v1/rest/ingest/{DATABASE}/{table}?streamFormat=json", text, "application/octet-stream")

    def figures(self):
        """Resident bytes, threads, open files."""
        folder = f"/proc/{self.process.pid}"
        try:
            with open(f"{folder}/status", encoding="ascii") as status:
                lines = dict(line.split(":", 1) for line in status if ":" in line)
            return int(lines["VmRSS"].split()[0]) * 1024, int(lines["Threads"]), len(os.listdir(f"{folder}/fd"))
        except (OSError, KeyError):
            return None


class Soak:
    def __init__(self, server, arguments):
        self.server, self.arguments = server, arguments
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged = {}
        self.uncertain = {}
        self.faults, self.done = [], {}
        self.samples = []

    def note(self, what):
        with self.lock:
            self.done[what] = self.done.get(what, 0) + 1

    def fault(self, text):
        with self.lock:
            self.faults.append(text)
        print("FAULT:", text[:600], flush=True)

    def attempt(self, what, work):
        """Does some work; a broken connection is a kill, and anything else a fault. True when it is done."""
        if not self.server.up.wait(30):
            return None
        kills = self.server.kills
        try:
            result = work()
            self.note(what)
            return (result,)
        except Fault as error:
            # An answer of a server that is being stopped is not one of its faults.
            self.fault(f"{what}: {error}")
        except (OSError, ValueError, urllib.error.URLError) as error:
            if self.server.up.is_set() and self.server.kills == kills:
                time.sleep(0.5)
                if self.server.up.is_set() and self.server.kills == kills:
                    self.fault(f"{what}: the connection broke without a kill: {error}")
        return None

    def writer(self, number):
        """Appends batches; each row has a number that nobody else has."""
        rng, batch = random.Random(number), 0
        while not self.stop.is_set():
            size = rng.choice([1, 1, 1, 10, 200])
            first = number * 10_000_000 + batch * 1000
            rows = [{"n": first + at, "writer": number, "batch": batch, "text": "x" * rng.randint(0, 50)} for at in range(size)]
            done = self.attempt("ingest", lambda: self.server.ingest("Events", rows))
            with self.lock:
                place = self.acknowledged if done else self.uncertain
                place[(number, batch)] = size
            batch += 1
            if rng.random() < 0.2:
                time.sleep(rng.random() * 0.05)

    def pairs(self):
        """Batches that go to two tables by an update policy: both or neither."""
        batch = 0
        while not self.stop.is_set():
            rows = [{"n": batch * 10 + at} for at in range(10)]
            self.attempt("ingest with an update policy", lambda: self.server.ingest("Source", rows))
            batch += 1
            time.sleep(0.05)

    def replacer(self):
        """Replaces a table; its readers see one whole generation."""
        generation = 0
        while not self.stop.is_set():
            generation += 1
            text = f".set-or-replace Whole <| range i from 1 to 100 step 1 | project generation = {generation}, i"
            self.attempt("replace", lambda: self.server.run(text))
            time.sleep(0.2)

    def reader(self, number):
        while not self.stop.is_set():
            rng = random.random()
            if rng < 0.3:
                rows = self.attempt("count", lambda: self.server.run("Events | summarize count(), dcount(writer)"))
            elif rng < 0.6:
                rows = self.attempt("whole", lambda: self.server.run("Whole | summarize rows = count(), kinds = dcount(generation)"))
                if rows and rows[0][0][0] and rows[0][0] != [100, 1]:
                    self.fault(f"a half replaced table was seen: {rows[0][0]}")
            elif rng < 0.8:
                text = "union withsource=t Source, Target | summarize c = count() by t | summarize min(c), max(c), count()"
                rows = self.attempt("pairs", lambda: self.server.run(text))
                if rows and rows[0][0][2] == 2 and rows[0][0][0] != rows[0][0][1]:
                    self.fault(f"an update policy was seen half done: {rows[0][0]}")
            else:
                text = f"Events | where writer == {number} | summarize count() by batch | top 3 by batch"
                self.attempt("filter", lambda: self.server.run(text))
            time.sleep(0.05)

    def manager(self):
        """Schema changes, drops and undoes of tables beside."""
        turn = 0
        while not self.stop.is_set():
            turn += 1
            name = f"Beside{turn % 3}"
            self.attempt("create", lambda: self.server.run(f".create-merge table {name} (a: long, b{turn % 5}: string)"))
            self.attempt("ingest inline", lambda: self.server.run(f".ingest inline into table {name} <| {turn}"))
            self.attempt("extents", lambda: self.server.run(".show database Soak extents | summarize count() by TableName"))
            if turn % 4 == 0:
                self.attempt("drop", lambda: self.server.run(f".drop table {name} ifexists"))
            time.sleep(0.3)

    def killer(self):
        while not self.stop.wait(self.arguments.kill_every * random.uniform(0.5, 1.5)):
            self.sample()
            self.server.kill()
            time.sleep(0.2)
            self.server.start()

    def sample(self):
        figures = self.server.figures()
        if figures:
            self.samples.append((time.monotonic(), self.server.kills, *figures))

    def prepare(self):
        self.server.run(f".create database {DATABASE} ifnotexists", "NetDefaultDB")
        for text in [
            ".create-merge table Events (n: long, writer: long, batch: long, text: string)",
            ".create-merge tables Source (n: long), Target (n: long), Whole (generation: long, i: long)",
            ".alter table Target policy update '[{\"IsEnabled\": true, \"Source\": \"Source\", \"Query\": \"Source\", \"IsTransactional\": true}]'",
        ]:
            self.server.run(text)

    def run(self):
        self.server.start()
        self.prepare()
        work = [(self.writer, (number,)) for number in range(1, self.arguments.writers + 1)]
        work += [(self.reader, (number,)) for number in (1, 2, 3)]
        work += [(self.pairs, ()), (self.replacer, ()), (self.manager, ())]
        if self.arguments.kill_every:
            work.append((self.killer, ()))
        threads = [threading.Thread(target=target, args=arguments) for target, arguments in work]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + self.arguments.time
        while time.monotonic() < deadline and not (self.faults and self.arguments.fail_fast):
            time.sleep(min(5, max(0.1, deadline - time.monotonic())))
            self.sample()
        self.stop.set()
        for thread in threads:
            thread.join(180)
        self.server.up.wait(60)
        self.check()

    def check(self):
        found = {}
        for writer, batch, count, distinct in self.server.run(
            "set notruncation; Events | summarize count(), count_distinct(n) by writer, batch"
        ):
            found[(writer, batch)] = (count, distinct)
        lost = [key for key, size in self.acknowledged.items() if found.get(key) != (size, size)]
        if lost:
            self.fault(f"{len(lost)} acknowledged batches are not there as they were sent: {[(key, self.acknowledged[key], found.get(key)) for key in lost[:5]]}")
        halves = [key for key, size in self.uncertain.items() if key in found and found[key] != (size, size)]
        if halves:
            self.fault(f"{len(halves)} batches that nobody acknowledged are there in part: {halves[:5]}")
        strangers = [key for key in found if key not in self.acknowledged and key not in self.uncertain]
        if strangers:
            self.fault(f"{len(strangers)} batches are there that nobody sent: {strangers[:5]}")
        source, target = self.server.run("Source | count")[0][0], self.server.run("Target | count")[0][0]
        if source != target:
            self.fault(f"an update policy is half done: {source} rows in, {target} rows out")
        time.sleep(25)
        extents = self.server.run(".show table Events extents | count")[0][0]
        if extents > self.arguments.most_extents:
            self.fault(f"{extents} extents are left after merges, {self.arguments.most_extents} at most are expected")
        merges = self.server.run(".show operations | where Operation == 'ExtentsMerge' | count")[0][0]
        self.grown()
        self.server.stop()
        checked = subprocess.run([self.server.binary, "fsck", "--data", self.server.data, "--deep"], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            self.fault(f"fsck: {checked.stdout[-2000:]}{checked.stderr[-2000:]}")
        rows = sum(size for size in self.acknowledged.values())
        print(f"{len(self.acknowledged)} batches with {rows} rows acknowledged, {len(self.uncertain)} cut off by {self.server.kills} kills; {extents} extents, {merges} merges")
        print("done:", json.dumps(self.done, sort_keys=True))
        print(checked.stdout.strip())

    def grown(self):
        """Compares the first and the last quarter of the longest life of one process."""
        lives = {}
        for sample in self.samples:
            lives.setdefault(sample[1], []).append(sample)
        if not lives:
            return
        life = max(lives.values(), key=len)
        seconds = life[-1][0] - life[0][0]
        quarter = max(1, len(life) // 4)
        for at, name, slack in [(2, "resident bytes", 256 << 20), (3, "threads", 64), (4, "open files", 256)]:
            early = max(sample[at] for sample in life[:quarter])
            late = max(sample[at] for sample in life[-quarter:])
            print(f"{name}: {early} early, {late} late in a life of {seconds:.0f} seconds")
            if len(life) >= 12 and late > early * 1.5 + slack:
                self.fault(f"{name} grew from {early} to {late} within {seconds:.0f} seconds")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--time", type=float, default=60)
    parser.add_argument("--kill-every", type=float, default=20, help="seconds; 0 never kills")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--most-extents", type=int, default=80)
    parser.add_argument("--data")
    parser.add_argument("--fail-fast", action="store_true")
    arguments = parser.parse_args()
    data = arguments.data or tempfile.mkdtemp(prefix="tidewater-soak-")
    server = Server(os.path.abspath(arguments.server), data)
    soak = Soak(server, arguments)
    try:
        soak.run()
    finally:
        if server.process and server.process.poll() is None:
            server.process.kill()
    if soak.faults:
        print(f"{len(soak.faults)} faults; the data is in {data}, the log in {server.log.name}")
        sys.exit(1)
    if not arguments.data:
        shutil.rmtree(data, ignore_errors=True)
        os.remove(server.log.name)
    print("nothing was lost or doubled")


if __name__ == "__main__":
    main()
