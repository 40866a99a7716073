"""The explorer: what there is, previews, names, loading files, stored functions; and use without a mouse or by ear."""
import os
import pathlib

import pytest
import requests
from playwright.sync_api import expect

CACHE = pathlib.Path(os.environ.get("WEB_CACHE", pathlib.Path.home() / ".cache" / "tidewater" / "web"))
AXE = next(iter(sorted(CACHE.glob("packages-*/node_modules/axe-core/axe.min.js"))), None)


def menu(tidewater, item, action):
    line = tidewater.page.get_by_role("treeitem", name=item, exact=True).locator("> .line")
    line.hover()
    line.get_by_role("button").click()
    tidewater.page.get_by_role("menuitem", name=action).click()


def test_tables_are_previewed_and_their_names_written(tidewater):
    page = tidewater.open("/Samples").page
    menu(tidewater, "Airlines, 16", "Preview 100 rows")
    tidewater.ended()
    assert tidewater.rows()[0][0] == "9E"
    page.get_by_role("searchbox", name="Find in the explorer").fill("manufact")
    expect(page.get_by_role("treeitem", name="manufacturer, string")).to_be_visible()
    expect(page.get_by_role("treeitem", name="Airlines, 16")).to_have_count(0)
    tidewater.write("")
    page.get_by_role("treeitem", name="manufacturer, string").dblclick()
    expect(page.locator(".view-lines")).to_contain_text("manufacturer")


def test_the_explorer_works_by_keys_alone(tidewater):
    page = tidewater.open("/Samples").page
    page.keyboard.press("Alt+1")
    page.keyboard.press("End")
    expect(page.get_by_role("treeitem", name="Weather, 26,115")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("treeitem", name="humid, real")).to_be_visible()
    page.keyboard.press("m")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    tidewater.ended()
    assert tidewater.rows() == [["26115"]]


def test_dropped_files_are_loaded_into_a_new_table(tidewater):
    page = tidewater.open("/NetDefaultDB").page
    page.evaluate("""() => {
        const files = new DataTransfer();
        files.items.add(new File(['when,name,n\\n2024-01-02,ä,1\\n2024-01-03,"b, c",2\\n'], 'my data.csv'));
        for (const type of ['dragover', 'drop'])
            document.querySelector('.query-page').dispatchEvent(new DragEvent(type, {dataTransfer: files, bubbles: true, cancelable: true}));
    }""")
    box = page.get_by_role("dialog", name="Load data")
    expect(box.get_by_label("Table")).to_have_value("my_data")
    box.get_by_role("button", name="Load", exact=True).click()
    expect(box.locator(".load-list")).to_contain_text("my data.csv: 2 rows")
    box.get_by_role("button", name="Done").click()
    expect(page.get_by_role("treeitem", name="my_data, 2")).to_be_visible()
    tidewater.run("my_data | order by n asc")
    assert tidewater.rows() == [["2024-01-02T00:00:00Z", "ä", "1"], ["2024-01-03T00:00:00Z", "b, c", "2"]]


def columns(box):
    return [(row.get_by_role("textbox").input_value(), row.get_by_role("combobox").input_value()) for row in box.locator(".load-columns tbody tr").all()]


def test_the_columns_of_a_new_table_are_changed_before_it_is_loaded(tidewater):
    page = tidewater.open("/NetDefaultDB").page
    page.get_by_role("button", name="Load data").click()
    box = page.get_by_role("dialog", name="Load data")
    body = "id,what,secret,size\n" + "".join(f"{n},w{n},s{n},{n}.5\n" for n in range(1, 200)) + "200,last,s,not a number\n"
    box.get_by_label("Files").set_input_files({"name": "things.csv", "mimeType": "text/csv", "buffer": body.encode()})
    expect(box.locator(".load-columns tbody tr")).to_have_count(4)
    assert columns(box) == [("id", "long"), ("what", "string"), ("secret", "string"), ("size", "string")]
    expect(box.locator(".load-values").first).to_contain_text("1  ·  2")
    box.get_by_label("Name of column 1").fill("number")
    box.get_by_label("Type of column 1").select_option("int")
    box.get_by_label("Load column 3").uncheck()
    box.get_by_label("Name of column 4").fill("number")
    box.get_by_label("Type of column 4").select_option("real")
    box.get_by_role("button", name="Load", exact=True).click()
    expect(box.locator(".fault")).to_contain_text("Two columns are called number.")
    box.get_by_label("Name of column 4").fill("how large")
    box.get_by_role("button", name="Load", exact=True).click()
    expect(box.locator(".load-list")).to_contain_text("things.csv: 200 rows, 1 values did not fit")
    box.locator("summary").click()
    expect(box.locator(".rejected li")).to_contain_text("not a number")
    box.get_by_role("button", name="Done").click()
    tidewater.run("things | where number in (2, 200) | order by number asc")
    assert tidewater.rows() == [["2", "w2", "2.5"], ["200", "last", "null"]]
    tidewater.run("things | getschema | project ColumnName, ColumnType")
    assert tidewater.rows() == [["number", "int"], ["what", "string"], ["how large", "real"]]


def test_members_of_json_become_columns_of_other_names(tidewater):
    page = tidewater.open("/NetDefaultDB").page
    page.get_by_role("button", name="Load data").click()
    box = page.get_by_role("dialog", name="Load data")
    box.get_by_label("Files").set_input_files({"name": "events.jsonl", "mimeType": "application/json", "buffer": b'{"it\'s": 1, "b.c": {"d": 2}}\n{"it\'s": 3}\n'})
    expect(box.locator(".load-columns tbody tr")).to_have_count(2)
    box.get_by_label("Name of column 1").fill("its")
    box.get_by_label("Name of column 2").fill("bag")
    box.get_by_role("button", name="Load", exact=True).click()
    expect(box.locator(".load-list")).to_contain_text("events.jsonl: 2 rows")
    box.get_by_role("button", name="Done").click()
    tidewater.run("events | order by its asc")
    assert tidewater.rows() == [["1", '{"d":2}'], ["3", "null"]]
    # Of a table that is there the file's columns are only shown.
    page.get_by_role("button", name="Load data").click()
    box.get_by_label("Files").set_input_files({"name": "events.jsonl", "mimeType": "application/json", "buffer": b'{"its": 4}\n'})
    expect(box.locator(".load-columns h3")).to_have_text("What the file holds")
    expect(box.get_by_label("Type of column 1")).to_be_disabled()


def test_a_large_file_is_known_by_its_beginning_and_tells_how_far_it_is(tidewater):
    import gzip
    page = tidewater.open("/NetDefaultDB").page
    page.get_by_role("button", name="Load data").click()
    box = page.get_by_role("dialog", name="Load data")
    line = "x" * 90
    body = "".join(f"{n},{line}{n * 7919 % 100003}\n" for n in range(60_000)).encode()
    with page.expect_event("requestfinished", lambda request: "/preview/" in request.url) as looked:
        box.get_by_label("Files").set_input_files({"name": "large.csv.gz", "mimeType": "application/gzip", "buffer": gzip.compress(body, 0)})
    expect(box.locator(".load-columns tbody tr")).to_have_count(2)
    # Only so much was unpacked and sent as tells the columns.
    sent = int(looked.value.all_headers().get("content-length") or looked.value.sizes()["requestBodySize"])
    assert len(body) > 5_000_000 and 1_000_000 < sent < 1_400_000
    box.get_by_role("button", name="Load", exact=True).click()
    expect(box.locator(".load-list")).to_contain_text("large.csv.gz: 60,000 rows")


def test_a_file_that_does_not_load_says_why(tidewater):
    page = tidewater.open("/NetDefaultDB").page
    page.get_by_role("button", name="Load data").click()
    box = page.get_by_role("dialog", name="Load data")
    box.get_by_label("Files").set_input_files({"name": "broken.parquet", "mimeType": "application/octet-stream", "buffer": b"no parquet"})
    expect(box.get_by_label("Format")).to_have_value("parquet")
    box.get_by_role("button", name="Load", exact=True).click()
    expect(box.locator(".fault")).to_contain_text("broken.parquet")


def test_functions_are_made_and_changed(tidewater):
    page = tidewater.open("/NetDefaultDB").page
    menu(tidewater, "NetDefaultDB", "New function…")
    box = page.get_by_role("dialog")
    box.get_by_label("Name").fill("Twice")
    box.get_by_label("Parameters").fill("(n: long)")
    box.get_by_label("Description").fill('Says "twice"')
    box.get_by_label("Body").fill("{ nonsense ")
    box.get_by_role("button", name="Save").click()
    expect(box.get_by_role("alert")).to_be_visible()
    expect(box.locator(".fault")).to_be_visible()
    box.get_by_label("Body").fill("{ 2 * n }")
    box.get_by_role("button", name="Save").click()
    expect(box).to_have_count(0)
    tidewater.run("print Twice(21)")
    assert tidewater.rows() == [["42"]]
    menu(tidewater, "Twice", "Edit…")
    expect(box.get_by_label("Body")).to_have_value("{ 2 * n }")
    expect(box.get_by_label("Description")).to_have_value('Says "twice"')


def test_hostile_names_are_only_names(tidewater, server):
    hostile = "<img src=x onerror=alert(1)>"
    server.command(f".create table ['{hostile}'] (['{hostile}']: string) with (docstring='{hostile}', folder='{hostile}')")
    page = tidewater.open("/NetDefaultDB").page
    item = page.get_by_role("treeitem", name=f"{hostile}, 0")
    expect(item).to_be_visible()
    item.locator("> .line").click()
    menu(tidewater, f"{hostile}, 0", "Preview 100 rows")
    tidewater.ended()
    expect(tidewater.fault()).to_have_count(0)
    expect(page.get_by_role("columnheader")).to_contain_text("onerror")
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_it(visit, server, theme, request):
    tidewater = visit(server.url, color_scheme=theme)
    page = tidewater.open("/Samples").page
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    # A few cells of each kind tell as much as a thousand, and axe looks at every one of them.
    tidewater.run("Flights | take 8 | project time_hour, origin, dep_delay, bag = bag_pack('a', tailnum)")
    assert AXE, "axe-core is among the page's packages: make web"
    # In the dark only the colours are others.
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] if theme == "light" else ["color-contrast"]
    # Through the protocol, for the page's own policy lets no script in.
    page.evaluate(AXE.read_text())

    def check(what):
        # The editor's colours are Monaco's. A branch of a tree holds its children, which its name leaves out.
        found = page.evaluate("""rules => axe.run({exclude: ['.monaco-editor']}, {runOnly: rules,
            ...(rules.length > 1 ? {rules: {'label-content-name-mismatch': {enabled: false}}} : {})})""", rules)
        told = [(item["id"], item["help"], [node["html"][:200] for node in item["nodes"]][:3]) for item in found["violations"]]
        assert told == [], what

    check("the table")
    page.locator(".grid-cell").first.dblclick()
    check("a value")
    page.locator(".grid-more").first.click()
    expect(page.locator(".about dl")).to_be_visible()
    check("a column")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Load data").click()
    check("loading")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard help").click()
    check("help")
    page.keyboard.press("Escape")
    tidewater.run("Flights | summarize n = count() by origin | render columnchart")
    expect(page.locator(".chart[data-drawn]")).to_be_visible()
    check("a chart")
    page.get_by_role("button", name="Pin to a dashboard").click()
    expect(page.get_by_role("dialog").get_by_label("Title of the tile")).to_be_visible()
    check("pinning")
    page.keyboard.press("Escape")
    ways = page.get_by_role("navigation", name="Pages")
    ways.get_by_role("button", name="Jobs").click()
    expect(page.locator(".jobs .empty, .jobs tbody tr").first).to_be_visible()
    check("jobs")
    tabs = page.get_by_role("tablist", name="Jobs, templates, schedules")
    tabs.get_by_role("tab", name="Schedules").click()
    page.get_by_role("button", name="New schedule").click()
    check("a schedule")
    page.keyboard.press("Escape")
    tiles = [{"title": kind, "query": f"Flights | summarize n = count() by origin{render}"} for kind, render in [("rows", ""), ("chart", " | render piechart"), ("wrong", " | nonsense")]]
    made = requests.post(f"{server.url}/v1/page/dashboards/Samples", json={"title": f"Axe {theme}", "tiles": tiles, "parameters": [{"name": "p", "type": "long"}]})
    ways.get_by_role("button", name="Dashboards").click()
    expect(page.get_by_role("button", name=f"Axe {theme}", exact=True)).to_be_visible()
    check("the list of dashboards")
    page.get_by_role("button", name=f"Axe {theme}", exact=True).click()
    expect(page.locator(".tile[data-loaded]")).to_have_count(3)
    page.get_by_role("button", name="Edit").click()
    check("a dashboard")
    requests.delete(f"{server.url}/v1/page/dashboards/Samples/{made.json()['id']}", headers={"if-match": made.headers["etag"]})
