"""Many jobs at once, and a server that is killed among them."""
import concurrent.futures
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


@pytest.mark.parametrize("seed", [1])
def test_a_server_killed_among_jobs_loses_none_and_ends_each_once(own_server, seed):
    """200 jobs over several lives of the server; JOBS=1000 by hand."""
    import os

    jobs, lives = int(os.environ.get("JOBS", "200")), 5
    chance = random.Random(seed)
    organisation = str(uuid.uuid4())
    accepted, ended = [], {}
    for life in range(lives):
        api = Api(own_server.url, **{"x-gw-ims-org-id": organisation})
        if life == 0:
            assert api.run("CREATE TABLE Sink AS SELECT CAST(-1 AS BIGINT) AS n")["state"] == "SUCCESS"
        killer = threading.Timer(chance.uniform(0.3, 1.5), own_server.kill)
        killer.start()
        for _ in range(jobs // lives):
            number = len(accepted)
            sql = chance.choice([f"INSERT INTO Sink SELECT {number}", f"SELECT {number} AS n", f"SELECT count(*) FROM generate_series(1, {chance.randrange(1, 3_000_000)})"])
            try:
                accepted.append((api.submit(sql)["id"], number, sql))
            except (OSError, urllib.error.URLError, ValueError):
                break
        killer.join()
        own_server.start()
        api = Api(own_server.url, **{"x-gw-ims-org-id": organisation})
        listed = {query["id"]: query for query in api.call("GET", f"{BASE}/queries?limit=1000")[1]["queries"]}
        for identity, _, sql in accepted:
            query = listed[identity]
            assert query["state"] in ENDED, (query["state"], sql)
            assert ended.setdefault(identity, (query["state"], query["updated"])) == (query["state"], query["updated"]), "a state changed after its end"
    assert accepted
    status, answer = api.call("POST", "/v1/rest/query", {"db": "NetDefaultDB", "csl": "Sink | where n >= 0 | summarize c = count() by n"})
    counts = {row[0]: row[1] for row in answer["Tables"][0]["Rows"]}
    assert all(count == 1 for count in counts.values()), "a job ran twice"
    for identity, number, sql in accepted:
        if sql.startswith("INSERT") and ended[identity][0] == "SUCCESS":
            assert counts.get(number) == 1, "an insert that succeeded is lost"
