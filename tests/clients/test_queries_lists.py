"""Lists of queries: every order, page and filter rule, with many queries in one millisecond. Source: query-service-api sections 8 and 9."""
import concurrent.futures
import re
import urllib.parse
import uuid

import pytest

from test_queries_api import BASE, ENDED, Api

ORDERS = ["created", "-created", "updated", "-updated"]


@pytest.fixture(scope="module")
def api(server):
    """A tenant with 90 ended queries of several kinds, submitted all at once; made busy again by nobody."""
    api = Api(server.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    table = "L" + uuid.uuid4().hex[:8]
    assert api.run(f"CREATE TABLE {table} AS SELECT 1 AS x")["state"] == "SUCCESS"
    template = api.call("POST", f"{BASE}/query-templates", {"name": "of the lists", "sql": "SELECT $n AS n"})[1]

    def submit(n):
        if n % 10 == 0:
            body = {"templateId": template["id"], "queryParameters": {"n": n}}
        else:
            body = {"sql": [f"SELECT {n} AS n", f"SELECT * FROM {table}", "SELECT * FROM nope", f"SELECT 'a=b, {n}' AS s"][n % 4], "name": f"q{n}"}
        client = Api(server.url, **{"x-gw-ims-org-id": api.headers["x-gw-ims-org-id"], "x-api-key": f"key{n % 3}"})
        status, query = client.call("POST", f"{BASE}/queries", body)
        assert status == 202, query
        return query["id"]

    with concurrent.futures.ThreadPoolExecutor(45) as pool:
        made = list(pool.map(submit, range(90)))
    api.all = [api.finish(identity) for identity in made]
    api.template = template
    api.table = table
    return api


def listed(api, **arguments):
    status, page = api.call("GET", f"{BASE}/queries?" + urllib.parse.urlencode(arguments, quote_via=urllib.parse.quote))
    assert status == 200, page
    return page


def ids(page):
    return [query["id"] for query in page["queries"]]


def whole(api, order, **more):
    return ids(listed(api, orderby=order, limit=1000, **more))


def test_queries_do_share_milliseconds(api):
    assert len({query["created"] for query in api.all}) < len(api.all)


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_is_by_time_and_the_same_both_ways(api, order):
    queries = listed(api, orderby=order, limit=1000)["queries"]
    times = [query[order.lstrip("-")] for query in queries]
    assert times == sorted(times, reverse=order.startswith("-"))
    other = order[1:] if order.startswith("-") else "-" + order
    assert whole(api, other) == [query["id"] for query in queries][::-1]
    assert {query["id"] for query in api.all} < {query["id"] for query in queries}


@pytest.mark.parametrize("limit", [1, 2, 7, 50])
@pytest.mark.parametrize("order", ORDERS)
def test_three_ways_of_following_pages_lose_and_repeat_nothing(api, order, limit):
    wanted = whole(api, order)

    def link(page):
        return page["_links"].get("next", {}).get("href")

    def by_link(page):
        href = link(page)
        return href and api.call("GET", href)[1]

    def by_start_and_order(page):
        href = link(page)
        if href:
            arguments = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(href).query))
            return listed(api, orderby=arguments["orderby"], start=arguments["start"], limit=limit)

    def by_page_next(page):
        if "next" in page["_page"]:
            return listed(api, orderby=order, start=page["_page"]["next"], limit=limit)

    for follow in (by_link, by_start_and_order, by_page_next):
        page, found, pages = listed(api, orderby=order, limit=limit), [], []
        while page:
            assert page["_page"]["orderby"] == order and page["_page"]["count"] == len(page["queries"]) <= limit
            assert ("next" in page["_page"]) == ("next" in page["_links"])
            found += ids(page)
            pages.append(page)
            page = follow(page)
        assert found == wanted
    # And back again: each page's `prev` is the page before it, in the order asked for.
    for before, page in zip(pages, pages[1:]):
        back = api.call("GET", page["_links"]["prev"]["href"])[1]
        assert ids(back) == ids(before) and back["_page"]["orderby"] == order
        assert back["_page"]["next"] == page["_page"]["start"]
    first = api.call("GET", pages[0]["_links"]["prev"]["href"])[1]
    assert first["queries"] == [] and first["_page"]["count"] == 0


def test_cursors_have_six_digits_where_a_millisecond_is_shared_and_three_elsewhere(api):
    shared = {}
    for query in listed(api, orderby="created", limit=1000)["queries"]:
        shared[query["created"]] = shared.get(query["created"], 0) + 1
    path = f"{BASE}/queries?orderby=created&limit=1"
    while path:
        page = api.call("GET", path)[1]
        created, start = page["queries"][0]["created"], page["_page"]["start"]
        assert len(start) == (24 if shared[created] == 1 else 27) and start[:23] == created[:23]
        path = page["_links"].get("next", {}).get("href")


@pytest.mark.parametrize("order", ["created", "-created"])
def test_a_start_of_three_digits_is_its_whole_millisecond(api, order):
    queries = listed(api, orderby=order, limit=1000)["queries"]
    for query in queries[::9]:
        at = query["created"]
        wanted = [other["id"] for other in queries if (other["created"] >= at if order == "created" else other["created"] <= at)]
        assert ids(listed(api, orderby=order, start=at, limit=1000)) == wanted
        assert ids(listed(api, orderby=order, start=at.replace("Z", "+00:00"), limit=1000)) == wanted
        before = ids(listed(api, orderby=order, start=at, limit=1000, isPrevLink="true"))
        assert before + wanted == [other["id"] for other in queries]


def matches(query, field, op, value):
    found = query.get(field, "")
    return {"==": found == value, "!=": found != value, "<": found < value, ">": found > value, "<=": found <= value, ">=": found >= value,
            "~": value in found}[op]


@pytest.mark.parametrize("order", ["-created", "updated"])
def test_filters_are_what_looking_at_every_query_gives(api, order):
    queries = listed(api, orderby=order, limit=1000)["queries"]
    middle = queries[len(queries) // 2]
    for field, values in (("created", [middle["created"]]), ("updated", [middle["updated"]]), ("state", ["SUCCESS", "FAILED", "KILLED", "SUC"]),
                          ("id", [middle["id"]])):
        for value in values:
            for op in ("==", "!=", "<", ">", "<=", ">=", "~"):
                wanted = [query["id"] for query in queries if matches(query, field, op, value)]
                page = listed(api, orderby=order, limit=1000, property=f"{field}{op}{value}")
                assert ids(page) == wanted, (field, op, value)
                assert page["_page"]["property"] == f"{field}{op}{value}"
    text = lambda query: query["request"].get("sql", "SELECT $n AS n")
    wanted = {
        "userId==key1": lambda query: query["userId"] == "key1",
        "userId=key1": lambda query: query["userId"] == "key1",
        "client==API": lambda query: query["client"] == "API",
        "client==Nobody": lambda query: False,
        "sql~a=b": lambda query: "a=b" in text(query),
        "sql~a=b\\, 3": lambda query: "a=b, 3" in text(query),
        "SQL~nope": lambda query: "nope" in text(query),
        "sql~$n": lambda query: "$n" in text(query),
        f"templateId=={api.template['id']}": lambda query: query["request"].get("templateId") == api.template["id"],
        "templateName~the lists": lambda query: query.get("templateName") == "of the lists",
        "templateName~The Lists": lambda query: False,
        "state==SUCCESS,userId==key2,sql~SELECT": lambda query: query["state"] == "SUCCESS" and query["userId"] == "key2",
        f"state!=SUCCESS,created>={middle['created']}": lambda query: query["state"] != "SUCCESS" and query["created"] >= middle["created"],
        "scheduleId==none": lambda query: False,
        "scheduleRunId==bm9uZQ==": lambda query: False,
    }
    for property_, keep in wanted.items():
        assert ids(listed(api, orderby=order, limit=1000, property=property_)) == [query["id"] for query in queries if keep(query)], property_
    read = next(query for query in queries if api.table in text(query) and "referenced_datasets" in query["_links"])
    dataset = read["_links"]["referenced_datasets"][0]["id"]
    wanted = [query["id"] for query in queries if dataset in [one["id"] for one in query["_links"].get("referenced_datasets", [])]]
    assert wanted and ids(listed(api, orderby=order, limit=1000, property=f"referenced_datasets=={'0' * 24}||{dataset}")) == wanted


@pytest.mark.parametrize("order", ORDERS)
def test_filtered_lists_page_without_loss_and_keep_their_filter_in_links(api, order):
    for property_ in ("state==FAILED", "userId==key0", "sql~SELECT", "state!=SUCCESS,userId==key1"):
        wanted = whole(api, order, property=property_)
        page, found = listed(api, orderby=order, limit=3, property=property_, excludeSoftDeleted="false"), []
        while page:
            found += ids(page)
            for link in page["_links"].values():
                arguments = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(link["href"]).query))
                assert (arguments["property"], arguments["limit"], arguments["excludeSoftDeleted"]) == (property_, "3", "false")
                assert list(arguments)[:2] == ["orderby", "start"]
            href = page["_links"].get("next", {}).get("href")
            page = href and api.call("GET", href)[1]
        assert found == wanted and len(wanted) > 3


def test_deleted_queries_vanish_from_pages_and_disturb_no_other(api):
    api = Api(api.url, **{"x-gw-ims-org-id": str(uuid.uuid4())})
    made = [api.run(f"SELECT {n}")["id"] for n in range(9)]
    first = listed(api, orderby="created", limit=3)
    assert api.call("PATCH", f"{BASE}/queries/{made[1]}", {"op": "soft_delete"})[0] == 202
    assert api.call("PATCH", f"{BASE}/queries/{made[3]}", {"op": "soft_delete"})[0] == 202
    made.append(api.run("SELECT 9")["id"])
    second = api.call("GET", first["_links"]["next"]["href"])[1]
    assert ids(second) == [made[4], made[5], made[6]]
    assert whole(api, "created") == [made[0], made[2], *made[4:]]
    assert whole(api, "created", excludeSoftDeleted="false") == made


def test_times_are_utc_with_three_digits(api):
    for query in api.all:
        assert query["state"] in ENDED
        for name in ("created", "updated"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", query[name])
