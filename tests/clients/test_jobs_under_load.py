"""Many jobs at once, and a server that is killed among them."""
import concurrent.futures
import http.client
import random
import threading
import time
import urllib.error
import uuid

import pytest

from test_queries_api import BASE, ENDED, Api


def everything(api, descending=True):
    """All jobs, by following the links; no item may come twice."""
    path, found = f"{BASE}/queries?limit=50&orderby={'-' if descending else ''}created", []
    while path:
        status, page = api.call("GET", path)
        assert status == 200
        found += [query["id"] for query in page["queries"]]
        path = page["_links"].get("next", {}).get("href")
    assert len(found) == len(set(found)), "an item came twice"
    return found


def test_500_submissions_at_once_are_all_listed_in_one_order(server):
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    stop, partial = threading.Event(), []

    def page():
        while not stop.is_set():
            partial.append(everything(api))

    pager = threading.Thread(target=page)
    pager.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            made = list(pool.map(lambda n: api.submit(f"SELECT {n} AS n")["id"], range(500)))
    finally:
        stop.set()
        pager.join()
    assert len(set(made)) == 500
    newest = everything(api)
    assert set(newest) == set(made)
    assert everything(api, descending=False) == newest[::-1]
    # What a reader saw while jobs came in is the end of what there is now, in the same order.
    for seen in partial:
        order = {identity: at for at, identity in enumerate(newest)}
        assert [order[identity] for identity in seen] == sorted(order[identity] for identity in seen)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        left = api.call("GET", f"{BASE}/queries?limit=1000&property=state!=SUCCESS")[1]["queries"]
        if not left:
            break
        time.sleep(0.2)
    assert not left, left[0]
    assert everything(api) == newest


class Patient(Api):
    """A client that sends a submission again, under the same key, until it has its answer."""

    def submit_once(self, number, sql):
        self.headers["Idempotency-Key"] = f"job-{number}"
        status, query = self.call("POST", f"{BASE}/queries", {"dbName": "prod:all", "sql": sql, "name": f"job-{number}"})
        assert status == 202, query
        return query["id"]


def statement(chance, number):
    return chance.choice([
        f"INSERT INTO Sink SELECT {number}",
        f"INSERT INTO Sink SELECT {number} FROM generate_series(1, {chance.randrange(1, 200_000)}) AS t(v) HAVING count(*) > 0",
        f"CREATE TABLE Made{number} AS SELECT CAST({number} AS BIGINT) AS n",
        f"SELECT {number} AS n",
        f"SELECT count(*) FROM generate_series(1, {chance.randrange(1, 2_000_000)})",
        f"SELECT {number} / 0 AS n",
    ])


@pytest.mark.parametrize("seed", [1])
def test_a_server_killed_among_jobs_loses_none_and_ends_each_once(own_server, seed):
    """1,000 jobs over several lives of the server (JOBS and LIVES by hand): each is recorded once although its submission
    may have been sent twice, ends once, and has had its effect exactly when it says so."""
    import os

    jobs, lives = int(os.environ.get("JOBS", "1000")), int(os.environ.get("LIVES", "8"))
    chance = random.Random(seed)
    organisation = str(uuid.uuid4())
    texts = {number: statement(chance, number) for number in range(jobs)}
    accepted, ended, orders = {}, {}, []
    waiting = list(texts)
    api = Api(own_server.url, **{"x-gw-ims-org-id": organisation})
    assert api.run("CREATE TABLE Sink AS SELECT CAST(-1 AS BIGINT) AS n")["state"] == "SUCCESS"

    def look(api):
        """All jobs as they stand; what has ended stays as it was, and the order is that of before."""
        newest = everything(api)
        oldest = newest[::-1]
        if orders:
            assert oldest[:len(orders[-1])] == orders[-1], "the order changed, or a job is lost"
        orders.append(oldest)
        found = {}
        for page in (api.call("GET", f"{BASE}/queries?limit=1000&orderby=created")[1]["queries"],
                     api.call("GET", f"{BASE}/queries?limit=1000&orderby=-created")[1]["queries"]):
            found.update({query["id"]: query for query in page})
        assert set(found) == set(newest)
        for identity, query in found.items():
            if query["state"] in ENDED:
                end = (query["state"], query["updated"], query["rowCount"])
                assert ended.setdefault(identity, end) == end, "a job ended twice"
            else:
                assert identity not in ended, "a job went on after its end"
        return found

    for life in range(lives):
        is_last = life == lives - 1
        share = len(waiting) if is_last else max(1, len(waiting) // (lives - life))
        now, later = waiting[:share], waiting[share:]
        killer = None
        if not is_last:
            killer = threading.Timer(chance.uniform(0.05, 0.02 * share), own_server.kill)
            killer.start()

        def submit(number):
            try:
                return number, Patient(own_server.url, **{"x-gw-ims-org-id": organisation}).submit_once(number, texts[number])
            except (OSError, urllib.error.URLError, ValueError, http.client.HTTPException):
                return number, None

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for number, identity in pool.map(submit, now):
                if identity is None:
                    later.append(number)
                else:
                    assert accepted.setdefault(number, identity) == identity
        waiting = later
        if killer:
            killer.join()
            own_server.start()
            found = look(Api(own_server.url, **{"x-gw-ims-org-id": organisation}))
            assert all(query["state"] in ENDED for query in found.values()), "a job of a former life has no end"
    assert not waiting and len(accepted) == jobs
    api = Api(own_server.url, **{"x-gw-ims-org-id": organisation})
    until = time.monotonic() + 180
    while any(query["state"] not in ENDED for query in look(api).values()):
        assert time.monotonic() < until, "jobs do not end"
        time.sleep(0.5)
    found = look(api)
    # One more is the one that made the table.
    assert len(found) == jobs + 1 and set(accepted.values()) < set(found), "a submission was recorded twice or not at all"
    status, answer = api.call("POST", "/v1/rest/query", {"db": "NetDefaultDB", "csl": "set notruncation; Sink | where n >= 0 | summarize c = count() by n"})
    assert status == 200, answer
    counts = {row[0]: row[1] for row in answer["Tables"][0]["Rows"]}
    status, answer = api.call("POST", "/v1/rest/query", {"db": "NetDefaultDB", "csl": ".show tables | where TableName startswith 'Made' | project TableName"})
    tables = {row[0] for row in answer["Tables"][0]["Rows"]}
    states = {}
    for number, identity in accepted.items():
        state = found[identity]["state"]
        text = texts[number]
        states[state] = states.get(state, 0) + 1
        if text.startswith("INSERT"):
            assert counts.get(number, 0) == (1 if state == "SUCCESS" else 0), (state, number, counts.get(number, 0))
        elif text.startswith("CREATE"):
            assert (f"Made{number}" in tables) == (state == "SUCCESS"), (state, number)
        elif text.endswith("/ 0 AS n"):
            assert state == "FAILED"
        if state == "FAILED":
            assert found[identity]["errors"][0]["code"] in ("58000", "22012"), found[identity]["errors"]
    print(states)
    assert set(states) == {"SUCCESS", "FAILED"}
