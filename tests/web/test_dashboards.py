"""Dashboards: queries pinned as tiles, arranged by mouse and keys, with parameters, time range and refresh; saved, shared."""
import json

import pytest
import requests
from playwright.sync_api import expect

HOSTILE = "<img src=x onerror=alert(1)>"
HOME = "/v1/page/dashboards/Samples"


def tile(title, query, **more):
    return {"id": title, "title": title, "query": query, "width": 4, "height": 4, **more}


def put_up(server, title, tiles, **more):
    """A dashboard at the server; gives its address on the page."""
    made = requests.post(f"{server.url}{HOME}", json={"title": title, "tiles": tiles, **more})
    assert made.status_code == 201, made.text
    return f"/Samples?page=dashboards&dashboard=Samples/{made.json()['id']}"


def kept(server, title):
    """What the server has of a dashboard."""
    listed = requests.get(f"{server.url}{HOME}").json()["dashboards"]
    found = next(item for item in listed if item["title"] == title)
    return requests.get(f"{server.url}{HOME}/{found['id']}").json()


def titles(page):
    return page.locator(".tile h2").all_inner_texts()


def loaded(page, count):
    expect(page.locator(".tile[data-loaded]:not(.loading)")).to_have_count(count)


def choose(page, tile, action):
    page.get_by_role("region", name=tile, exact=True).get_by_role("button", name=f"Actions for {tile}").click()
    page.get_by_role("menuitem", name=action).click()


def test_a_query_is_pinned_and_its_tile_opens_it_again(tidewater, server):
    page = tidewater.open("/Samples").page
    tidewater.run("Flights | summarize n = count() by origin | render columnchart with (title='By origin')")
    expect(page.locator(".chart[data-drawn]")).to_be_visible()
    page.get_by_role("button", name="Pin to a dashboard").click()
    box = page.get_by_role("dialog", name="Pin to a dashboard")
    box.get_by_label("Dashboard", exact=True).select_option("A new dashboard")
    box.get_by_label("Name of the dashboard").fill("Pinned")
    box.get_by_label("Title of the tile").fill("Origins")
    box.get_by_role("button", name="Pin", exact=True).click()
    expect(box).to_have_count(0)
    tidewater.run("Airlines | take 3")
    page.get_by_role("button", name="Pin to a dashboard").click()
    box.get_by_label("Dashboard", exact=True).select_option("Pinned")
    box.get_by_label("Title of the tile").fill("Airlines")
    box.get_by_role("button", name="Pin", exact=True).click()
    expect(box).to_have_count(0)
    page.get_by_role("navigation", name="Pages").get_by_role("button", name="Dashboards").click()
    page.get_by_role("button", name="Pinned", exact=True).click()
    expect(page.locator(".tile .chart[data-drawn]")).to_have_count(1)
    expect(page.locator(".tile .grid-cell").first).to_be_visible()
    # The address leads back to it.
    page.reload()
    loaded(page, 2)
    assert titles(page) == ["Origins", "Airlines"]
    choose(page, "Airlines", "Open its query")
    expect(page.locator(".editor .view-lines")).to_contain_text("Airlines | take 3")
    assert [one["visual"] for one in kept(server, "Pinned")["content"]["tiles"]] == ["", "table"]


def test_tiles_are_arranged_by_keys_and_by_mouse(tidewater, server):
    page = tidewater.open(put_up(server, "Arranged", [tile(name, f"print {name} = 1") for name in "abc"]), ready=False).page
    loaded(page, 3)
    page.get_by_role("button", name="Edit").click()
    grip = page.get_by_role("button", name="Move a:")
    grip.focus()
    page.keyboard.press("ArrowRight")
    assert titles(page) == ["b", "a", "c"]
    expect(grip).to_be_focused()
    expect(page.locator(".toast")).to_have_text("a: place 2 of 3.")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".toast")).to_have_text("5 of 12 columns wide, 5 rows high.")
    page.get_by_role("button", name="Move c:").drag_to(page.get_by_role("region", name="b", exact=True))
    assert titles(page) == ["c", "b", "a"]
    corner = page.get_by_role("region", name="b", exact=True).locator(".tile-corner")
    place = corner.bounding_box()
    page.mouse.move(place["x"] + 9, place["y"] + 9)
    page.mouse.down()
    page.mouse.move(place["x"] + 9, place["y"] + 149, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Edit")).to_be_visible()
    found = kept(server, "Arranged")["content"]["tiles"]
    assert [(one["id"], one["width"], one["height"]) for one in found] == [("c", 4, 4), ("b", 4, 6), ("a", 5, 5)]
    # What is discarded comes back as it was.
    page.get_by_role("button", name="Edit").click()
    choose(page, "b", "Remove")
    assert titles(page) == ["c", "a"]
    page.get_by_role("button", name="Discard").click()
    assert titles(page) == ["c", "b", "a"]


def test_tiles_and_parameters_are_written_in_forms(tidewater, server):
    page = tidewater.open(put_up(server, "Written", []), ready=False).page
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Parameters").click()
    box = page.get_by_role("dialog", name="Parameters")
    box.get_by_role("button", name="Add parameter").click()
    box.get_by_label("Name").fill("not a name")
    box.get_by_role("button", name="Apply").click()
    expect(box.get_by_role("alert")).to_contain_text("letters, digits")
    box.get_by_label("Name").fill("city")
    box.get_by_label("Label").fill("City")
    box.get_by_label("Value").fill("JFK")
    box.get_by_label("Choices").fill("JFK, EWR")
    box.get_by_role("button", name="Apply").click()
    page.get_by_role("button", name="Add tile").click()
    box = page.get_by_role("dialog", name="New tile")
    box.get_by_label("Title").fill("Flights from there")
    box.get_by_label("Query").fill("Flights | where origin == city | count")
    box.get_by_label("Shown as").select_option("Card")
    box.get_by_role("button", name="Apply").click()
    expect(page.locator(".tile .card-value")).to_have_text("111279")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Edit")).to_be_visible()
    page.get_by_role("combobox", name="City").select_option("EWR")
    expect(page.locator(".tile .card-value")).to_have_text("120835")
    # Choosing a value changes nothing for others.
    assert kept(server, "Written")["content"]["parameters"][0]["value"] == "JFK"
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("combobox", name="City")).to_have_value("JFK")
    expect(page.locator(".tile .card-value")).to_have_text("111279")
    page.get_by_role("combobox", name="Refresh").select_option("Every minute")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Edit")).to_be_visible()
    found = kept(server, "Written")["content"]
    assert (found["refresh"], found["parameters"][0]["value"]) == (60, "JFK")


def test_time_range_and_parameters_of_all_types_reach_the_queries(tidewater, server):
    query = ("print from = _startTime, until = _endTime, s, l = l + 1, r = r * 2, b = not(b), t = t + 1d, w = w * 2, none = isnull(none)")
    parameters = [{"name": name, "type": type, "value": value} for name, type, value in [
        ("s", "string", 'a "b" \\ {c}'), ("l", "long", "41"), ("r", "real", "1.25"), ("b", "bool", "true"), ("t", "datetime", "2024-01-01"),
        ("w", "timespan", "1.5h"), ("none", "long", "")]]
    place = put_up(server, "Typed", [tile("all", query, visual="table", width=12)], parameters=parameters,
                   range={"kind": "between", "from": "2013-01-01T00:00:00", "to": "2013-02-01T12:30:00"})
    page = tidewater.open(place, ready=False).page
    loaded(page, 1)
    assert tidewater.rows() == [["2013-01-01T00:00:00Z", "2013-02-01T12:30:00Z", 'a "b" \\ {c}', "42", "2.5", "false", "2024-01-02T00:00:00Z", "03:00:00", "true"]]
    page.get_by_role("combobox", name="Time range").select_option("All of time")
    expect(page.locator(".grid-cell").first).to_have_text("0001-01-01T00:00:00Z")
    page.get_by_label("l", exact=True).fill("99")
    expect(page.locator(".grid-cell").nth(3)).to_have_text("100")
    # Values are data: what looks like KQL stays a text.
    page.get_by_label("s", exact=True).fill('"; .drop table Flights; print "')
    expect(page.locator(".grid-cell").nth(2)).to_have_text('"; .drop table Flights; print "')


def test_a_dashboard_refreshes_itself(tidewater, server):
    page = tidewater.open(put_up(server, "Fresh", [tile("now", "print now()", visual="table")], refresh=1), ready=False).page
    loaded(page, 1)
    first = page.locator(".grid-cell").inner_text()
    expect(page.locator(".grid-cell")).not_to_have_text(first)
    # Nobody's work is disturbed while they arrange.
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Add tile").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("combobox", name="Refresh").select_option("No refresh")
    loaded(page, 1)


def test_what_somebody_else_saved_is_not_overwritten_unseen(tidewater, server):
    page = tidewater.open(put_up(server, "Shared", [tile("a", "print 1")]), ready=False).page
    loaded(page, 1)
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Title of the dashboard").fill("Mine")
    theirs = kept(server, "Shared")
    answer = requests.put(f"{server.url}{HOME}/{theirs['id']}", json={**theirs["content"], "title": "Theirs"}, headers={"if-match": f'"{theirs["version"]}"'})
    assert answer.status_code == 200
    page.get_by_role("button", name="Save").click()
    box = page.get_by_role("dialog", name="Changed by somebody else")
    box.get_by_role("button", name="Save mine as a copy").click()
    expect(page.get_by_role("heading", name="Mine (copy)")).to_be_visible()
    assert kept(server, "Theirs")["id"] == theirs["id"]


def test_a_dashboard_goes_out_and_comes_in_as_json(tidewater, server, tmp_path):
    place = put_up(server, "Carried", [tile("a", "print 1", visual="card")], refresh=60, parameters=[{"name": "p", "type": "long", "value": "1"}])
    page = tidewater.open(place, ready=False).page
    loaded(page, 1)
    page.get_by_role("button", name="More").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as JSON").click()
    assert download.value.suggested_filename == "Carried.json"
    content = json.loads(open(download.value.path(), encoding="utf-8").read())
    assert content["kind"] == "tidewater-dashboard" and content["tiles"][0]["query"] == "print 1"
    page.get_by_role("button", name="All dashboards").click()
    content["title"] = "Brought"
    page.get_by_label("File of a dashboard").set_input_files({"name": "d.json", "mimeType": "application/json", "buffer": json.dumps(content).encode()})
    expect(page.get_by_role("heading", name="Brought")).to_be_visible()
    loaded(page, 1)
    assert kept(server, "Brought")["content"]["refresh"] == 60
    page.get_by_role("button", name="All dashboards").click()
    for wrong, told in [(b"{", "not JSON"), (b"{}", "no dashboard")]:
        page.get_by_label("File of a dashboard").set_input_files({"name": "d.json", "mimeType": "application/json", "buffer": wrong})
        expect(page.locator(".dashboards .fault")).to_contain_text(told)
    page.get_by_role("button", name="Delete Brought").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Brought", exact=True)).to_have_count(0)


def test_hostile_dashboards_are_only_texts(tidewater, server):
    place = put_up(server, HOSTILE, [
        tile(HOSTILE, f"print ['{HOSTILE}'] = '{HOSTILE}'", visual="card"), tile("command", ".drop table Flights"), tile("wrong", f"print {HOSTILE}"),
        {"title": 5, "query": "print 1", "width": 1e9, "height": "x", "visual": "<b>", "id": HOSTILE}], parameters=[{"name": HOSTILE, "type": "x"}, 7], refresh=-1)
    page = tidewater.open(place, ready=False).page
    loaded(page, 4)
    expect(page.get_by_role("region", name="command").locator(".fault")).to_contain_text("not management commands")
    expect(page.get_by_role("region", name="wrong").locator(".fault")).to_be_visible()
    expect(page.locator(".card-value")).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert "Flights" in [row[0] for row in server.command(".show tables", "Samples")]


def test_who_may_not_write_sees_no_ways_to(visit, people):
    made = people["uma"].ask("POST", "/v1/page/dashboards/NetDefaultDB", json={"title": "Looked at", "tiles": [{"title": "a", "query": "print 1"}]}).json()
    viewer = visit(people["vic"].server.url)
    page = viewer.page
    page.goto(f"{viewer.url}/ui/databases/NetDefaultDB?page=dashboards&dashboard=NetDefaultDB/{made['id']}")
    box = page.get_by_role("dialog", name="Sign in")
    box.get_by_label("Key of an account").fill(people["vic"].headers["authorization"].removeprefix("Bearer "))
    box.get_by_role("button", name="Use this key").click()
    expect(box).to_have_count(0)
    page.get_by_role("button", name="Looked at", exact=True).or_(page.get_by_role("heading", name="Looked at")).first.wait_for()
    if page.get_by_role("button", name="Looked at", exact=True).count():
        page.get_by_role("button", name="Looked at", exact=True).click()
    loaded(page, 1)
    expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    page.get_by_role("button", name="More").click()
    expect(page.get_by_role("menuitem", name="Delete…")).to_be_disabled()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="All dashboards").click()
    expect(page.get_by_role("button", name="Looked at", exact=True)).to_be_visible()
    for way in ["New dashboard", "Import", "Delete"]:
        expect(page.get_by_role("button", name=way)).to_have_count(0)
    page.get_by_role("button", name="Account").click()
    account = page.get_by_role("dialog", name="Who am I")
    expect(account).to_contain_text("aaduser=vic")
    expect(account.get_by_role("row", name="NetDefaultDB")).to_contain_text("✓––––")
    people["admin"].ask("DELETE", f"/v1/page/dashboards/NetDefaultDB/{made['id']}", headers={"if-match": made["version"]})
