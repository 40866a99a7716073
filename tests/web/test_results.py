"""Results: streamed into a grid of any size, sorted, filtered, searched, opened, copied, saved; failures told."""
import json

import pytest
import requests
from playwright.sync_api import expect

from conftest import Tidewater


@pytest.fixture(scope="module")
def resident(server, shared):
    """One page for all these tests: loading it for each would only cost time."""
    watched = Tidewater(shared, server.url)
    watched.resident = True
    yield watched
    watched.page.close()


@pytest.fixture
def tidewater(resident):
    yield resident
    troubles, resident.troubles = resident.troubles, []
    assert troubles == []


def test_a_million_rows_stream_in_and_stay_quick(tidewater):
    page = tidewater.open().page
    tidewater.run("set notruncation; range x from 1 to 1000000 step 1 | extend text = strcat('row ', x), half = x / 2.0, flag = x % 2 == 0", ended=False)
    expect(page.locator(".grid-cell").first).to_be_visible()
    # Rows are there, and can be looked at, while more come in.
    expect(page.locator(".results .status")).to_contain_text("1,000,000 rows", timeout=60_000)
    tidewater.ended()
    scroller = page.locator(".grid-scroll")
    scroller.focus()
    page.keyboard.press("Control+End")
    expect(page.locator(".grid-cell").filter(has_text="row 1000000")).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".grid-row .active")).to_be_visible()
    scroller.evaluate("element => element.scrollTop = element.scrollHeight / 2")
    expect(page.locator(".grid-row").filter(has_text="row 500")).not_to_have_count(0)
    assert page.locator(".grid-row").count() < 60
    # A step costs what is in sight, whatever the number of rows: how long that takes is measured by bench/page.py.
    touched = page.evaluate("""async () => {
        const grid = document.querySelector('.grid-scroll'), most = [];
        let touched = 0;
        const watch = new MutationObserver(records => touched += records.length);
        watch.observe(grid, {childList: true, subtree: true, characterData: true, attributes: true});
        for (let at = 0; at < 20; at++) {
            touched = 0;
            grid.scrollTop = grid.scrollHeight * at / 20;
            await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
            most.push(touched);
        }
        return Math.max(...most);
    }""")
    rows_in_sight, cells = page.locator(".grid-row").count(), 5
    assert 0 < touched < 12 * rows_in_sight * cells, touched
    tidewater.page.get_by_role("searchbox", name="Search rows").fill("row 77777")
    expect(page.locator(".results .status")).to_contain_text("11 of 1,000,000 rows", timeout=60_000)
    # So many rows are nothing to keep for the tests that follow.
    page.goto("about:blank")


def test_long_numbers_keep_their_digits(tidewater):
    tidewater.open().run("print big = 9223372036854775807, small = -9007199254740993, r = 0.1, nan = real(nan), none = long(null), "
                         "d = dynamic({\"n\": 9223372036854775807, \"t\": \"9223372036854775807\"}), dec = decimal(12345678901234567890.5)")
    assert tidewater.rows()[0] == ["9223372036854775807", "-9007199254740993", "0.1", "NaN", "null",
                                   '{"n":9223372036854775807,"t":"9223372036854775807"}', "12345678901234567890.5"]


def test_times_show_as_the_server_tells_them(tidewater):
    tidewater.open().run("print a = datetime(2020-01-02 03:04:05.1234567), b = datetime(0001-01-01), c = datetime(9999-12-31 23:59:59.9999999), "
                         "d = time(1.02:03:04.5), e = datetime(2020-01-02)")
    assert tidewater.rows()[0] == ["2020-01-02T03:04:05.1234567Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z",
                                   "1.02:03:04.5000000", "2020-01-02T00:00:00Z"]


def test_columns_sort_filter_and_tell_their_figures(tidewater):
    page = tidewater.open().run("datatable(name: string, n: long) ['b', 10, 'a', 9, 'c', long(null), 'a', 100] ").page
    head = page.get_by_role("columnheader")
    head.nth(1).get_by_role("button", name="n long").click()
    expect(head.nth(1)).to_have_attribute("aria-sort", "ascending")
    assert [row[1] for row in tidewater.rows()] == ["9", "10", "100", "null"]
    head.nth(1).get_by_role("button", name="n long").click()
    expect(head.nth(1)).to_have_attribute("aria-sort", "descending")
    assert [row[1] for row in tidewater.rows()] == ["100", "10", "9", "null"]
    page.get_by_role("button", name="Filter and statistics of name").click()
    figures = page.locator(".figures")
    expect(figures).to_contain_text("Different")
    assert figures.locator("dd").all_inner_texts()[:5] == ["4", "0", "3", "a", "c"]
    figures.get_by_role("button", name="a 2").click()
    expect(page.locator(".results .status")).to_contain_text("2 of 4 rows")
    assert [row[0] for row in tidewater.rows()] == ["a", "a"]


def test_the_grid_works_by_keys_alone(tidewater):
    page = tidewater.open().run("range x from 1 to 100 step 1 | extend y = x * x").page
    page.keyboard.press("Alt+3")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Control+c")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Control+c")
    expect(page.locator(".toast")).to_have_text("2 rows copied.")
    assert tidewater.clipboard() == "x\ty\n2\t4\n3\t9"
    page.keyboard.press("Control+End")
    expect(page.locator(".grid-cell.active")).to_have_text("10000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Value")).to_contain_text("row 100")
    page.keyboard.press("Home")


def test_dynamic_values_open_as_a_tree(tidewater):
    page = tidewater.open().run('print d = dynamic({"a": [1, 2, {"deep": "value"}], "b": null})').page
    page.locator(".grid-cell").dblclick()
    value = page.get_by_role("complementary", name="Value")
    expect(value.locator(".tree")).to_contain_text("{ 2 items }")
    value.locator("summary").filter(has_text="2: ").click()
    expect(value.locator(".tree-string")).to_have_text("value")


def test_results_are_saved_and_copied(tidewater):
    page = tidewater.open().run('print a = "x,\\"y\\"\\nz", n = 9223372036854775807, d = dynamic([1])').page

    def saved(label):
        page.get_by_role("button", name="Copy and export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=label).click()
        return open(download.value.path(), encoding="utf-8", newline="").read(), download.value.suggested_filename

    assert saved("Save as CSV") == ('a,n,d\r\n"x,""y""\nz",9223372036854775807,[1]\r\n', "result.csv")
    text, name = saved("Save as JSON")
    assert (json.loads(text), name) == ([{"a": 'x,"y"\nz', "n": 9223372036854775807, "d": [1]}], "result.json")
    page.get_by_role("button", name="Share").click()
    page.get_by_role("menuitem", name="Copy as Markdown, with the results").click()
    expect(page.locator(".toast")).to_have_text("Markdown copied.")
    assert "| a | n | d |" in tidewater.clipboard() and "```kusto" in tidewater.clipboard()


def test_the_server_writes_results_as_files(tidewater):
    """In types of their own, and the rows of the result that is in sight."""
    page = tidewater.open("/Samples").page
    tidewater.run("print 1; Weather | project origin, temp, time_hour")
    tidewater.tab("Table 2")

    def saved(label):
        page.get_by_role("button", name="Copy and export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=label).click()
        return open(download.value.path(), "rb").read(), download.value.suggested_filename

    parquet, name = saved("Save all rows as Parquet")
    assert parquet[:4] == parquet[-4:] == b"PAR1" and name == "result.parquet"
    page.route("**/v1/page/download*", lambda route: None)
    page.get_by_role("button", name="Copy and export").click()
    page.get_by_role("menuitem", name="Save all rows as JSON").click()
    page.get_by_role("dialog", name="Save result.json").get_by_role("button", name="Cancel").click()
    page.unroute("**/v1/page/download*")
    expect(page.get_by_role("dialog")).to_have_count(0)
    text, name = saved("Save all rows as CSV")
    assert text.count(b"\r\n") == 26_116 and name == "result.csv"
    tidewater.run(".show tables")
    page.get_by_role("button", name="Copy and export").click()
    expect(page.get_by_role("menuitem", name="Save as CSV")).to_be_visible()
    expect(page.get_by_role("menuitem", name="Save all rows")).to_have_count(0)


def test_several_results_have_tabs_and_a_run_has_statistics(tidewater):
    page = tidewater.open("/Samples").run("Airlines | count; Airports | take 2 | project faa; print 1").page
    tabs = page.get_by_role("tablist", name="Results").get_by_role("tab")
    expect(tabs).to_have_text(["Table 1", "Table 2", "Table 3", "Statistics"])
    assert tidewater.rows() == [["16"]]
    tidewater.tab("Table 2")
    expect(page.get_by_role("columnheader")).to_have_text("faastring▽")
    tidewater.tab("Statistics")
    expect(page.locator(".figures-page")).to_contain_text("ExecutionTime")


def test_a_partial_failure_is_told_beside_its_rows(tidewater):
    tidewater.open().run("set truncationmaxrecords=3; range x from 1 to 10 step 1")
    expect(tidewater.fault()).to_contain_text("The result is not complete.")
    expect(tidewater.fault()).to_contain_text("E_QUERY_RESULT_SET_TOO_LARGE")
    assert tidewater.rows() == [["1"], ["2"], ["3"]]
    assert tidewater.status.startswith("Partly done")


def test_a_run_is_cancelled_here_and_at_the_server(tidewater, server):
    page = tidewater.open().page
    tidewater.run("range x from 1 to 100000000000 step 1 | where x * x % 7 == 8 | count", ended=False)
    expect(page.locator(".results.running")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".results .status")).to_contain_text("Cancelled")
    running = [row for row in server.command(".show running queries") if "100000000000" in str(row)]
    assert running == []
    tidewater.run("print after = 1")
    assert tidewater.rows() == [["1"]]


def test_commands_show_their_tables(tidewater):
    tidewater.open("/Samples").run(".show tables | project TableName | order by TableName asc")
    assert tidewater.rows() == [["Airlines"], ["Airports"], ["Flights"], ["Planes"], ["Weather"]]


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_hostile_texts_stay_texts(tidewater, server):
    quoted = json.dumps(HOSTILE)
    page = tidewater.open().page
    tidewater.run(f"datatable([{quoted}]: string, n: long, d: dynamic) [{quoted}, 1, dynamic({{{quoted}: {quoted}}})] | render columnchart with (title={quoted})")
    expect(page.locator(".chart[data-drawn]")).to_be_visible()
    page.locator(".chart-canvas").hover(position={"x": 300, "y": 120})
    tidewater.tab("Table")
    assert tidewater.rows()[0][0] == HOSTILE
    page.locator(".grid-cell").last.dblclick()
    expect(page.locator(".tree")).to_contain_text("onerror")
    page.locator(".grid-more").first.click()
    expect(page.locator(".about h2")).to_have_text(HOSTILE)
    page.keyboard.press("Escape")
    tidewater.run(f"print [{quoted}] == 1")
    expect(tidewater.fault()).to_be_visible()
    tidewater.run(f"database({quoted}).T")
    expect(tidewater.fault()).to_be_visible()
    for kind in ["piechart", "barchart", "treemap", "card", "pivotchart", "ladderchart"]:
        tidewater.run(f"datatable(a: string, n: long, m: long) [{quoted}, 1, 2] | render {kind}")
        expect(page.locator(".chart")).to_be_visible()
    tidewater.open(f"/{'%3Cscript%3Ealert(3)%3C%2Fscript%3E'}?query=%3Cscript%3Ealert(4)%3C%2Fscript%3E&name=%3Cb%3Ebold")
    expect(page.get_by_role("tab", name="<b>bold")).to_be_visible()
    assert page.locator("script:not([src])").count() == 0 and page.locator("img").count() == 0


def test_a_database_that_is_gone_is_told(tidewater):
    tidewater.open("/NoSuchDatabase").run("print 1")
    expect(tidewater.fault()).to_contain_text("NoSuchDatabase")


@pytest.mark.parametrize("width", [390])
def test_a_phone_has_room_for_it(visit, server, width):
    phone = visit(server.url, screen={"width": width, "height": 800})
    phone.page.set_viewport_size({"width": width, "height": 800})
    phone.open("/Samples?query=print%20x%20%3D%201")
    phone.ended()
    assert phone.rows() == [["1"]]
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= width
    phone.page.get_by_role("button", name="Show or hide the explorer").click()
    expect(phone.page.get_by_role("treeitem", name="Samples")).to_be_visible()
    tiles = [{"title": "chart", "width": 3, "query": "Flights | summarize n = count() by origin | render columnchart"}, {"title": "rows", "width": 12, "query": "Airlines"}]
    made = requests.post(f"{server.url}/v1/page/dashboards/Samples", json={"title": "On a phone", "tiles": tiles, "parameters": [{"name": "p", "type": "long"}]})
    phone.open(f"/Samples?page=dashboards&dashboard=Samples/{made.json()['id']}", ready=False)
    expect(phone.page.locator(".tile[data-loaded]")).to_have_count(2)
    wide = [box["width"] for box in (tile.bounding_box() for tile in phone.page.locator(".tile").all())]
    assert min(wide) > 340 and phone.page.evaluate("document.documentElement.scrollWidth") <= width
    phone.page.get_by_role("button", name="Edit").click()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= width
    requests.delete(f"{server.url}/v1/page/dashboards/Samples/{made.json()['id']}", headers={"if-match": made.headers["etag"]})
    phone.page.get_by_role("navigation", name="Pages").get_by_role("button", name="Jobs").click()
    expect(phone.page.get_by_role("button", name="New job")).to_be_visible()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= width
