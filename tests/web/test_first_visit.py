"""The first visit: the page comes fast, the editor knows the data, a query runs, links lead where they say."""
import pytest
import requests
from playwright.sync_api import expect

from conftest import packed


def test_the_first_visit_ends_with_a_chart(tidewater):
    page = tidewater.open().page
    assert page.title() == "Tidewater"
    expect(page.get_by_role("treeitem", name="Flights, 336,776")).to_be_visible()
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    expect(page.locator(".chart[data-drawn]")).to_be_visible()
    assert "159 rows" in tidewater.status


def test_a_warm_cache_asks_the_server_for_next_to_nothing(tidewater):
    """How long that takes is measured by bench/page.py."""
    page = tidewater.open().page
    expect(page.locator(".editor[data-knows]")).to_be_visible()
    page.reload()
    expect(page.locator(".editor[data-knows]")).to_be_visible()
    found = page.evaluate("""() => performance.getEntriesByType('resource').map(entry => [new URL(entry.name).pathname, entry.transferSize])""")
    files = [size for path, size in found if path.startswith("/ui/assets/")]
    assert len(files) >= 4 and sum(files) == 0, found
    # The settings, the schema, and the figures of one database.
    asked = [path for path, _ in found if not path.startswith("/ui/assets/") and path != "/ui/icon.svg"]
    assert len(asked) <= 3, asked


def test_the_editor_takes_text_before_the_language_service_is_there(tidewater):
    gate = []
    tidewater.page.route("**/assets/kusto-*.js", lambda route: gate.append(route))
    page = tidewater.open().page
    tidewater.run("print before = 1")
    assert tidewater.rows() == [["1"]]
    assert gate and page.locator(".editor[data-knows]").count() == 0
    for route in gate:
        route.continue_()
    expect(page.locator(".editor[data-knows]")).to_be_visible()


def test_completion_hover_and_diagnostics_know_the_tables(tidewater):
    page = tidewater.open("/Samples").page
    expect(page.locator(".editor[data-knows=Samples]")).to_be_visible()
    tidewater.write("Fli")
    page.keyboard.press("Control+Space")
    expect(page.locator(".suggest-widget .monaco-list-row").filter(has_text="Flights").first).to_be_visible()
    page.keyboard.press("Escape")
    tidewater.write("Flights | where nosuchcolumn > 1")
    expect(page.locator(".squiggly-error").first).to_be_visible()


def test_formatting_puts_pipes_on_lines_of_their_own(tidewater):
    page = tidewater.open("/Samples").page
    expect(page.locator(".editor[data-knows=Samples]")).to_be_visible()
    tidewater.write("Flights|where dep_delay>10|count")
    page.get_by_role("button", name="Format").click()
    expect(page.locator(".editor .view-line").nth(1)).to_contain_text("where dep_delay")


def test_the_query_at_the_cursor_runs(tidewater):
    page = tidewater.open().page
    tidewater.write("print a = 1\n\nprint b = 2\n\nprint c = 3")
    for _ in range(2):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    expect(page.locator(".grid-th")).to_have_text("blong▽")
    assert tidewater.rows() == [["2"]]


def test_errors_are_underlined_where_the_server_says(tidewater):
    page = tidewater.open("/Samples").page
    tidewater.run("print 1\n\n// a remark\nFlights\n| where nosuch > 1 and bad == 2")
    tidewater.write("print 1\n\n// a remark\nFlights\n| where nosuch > 1 and bad == 2")
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    expect(tidewater.fault()).to_contain_text("SEM0100")
    expect(tidewater.fault()).to_contain_text("nosuch")
    markers = page.locator(".squiggly-error")
    expect(markers.first).to_be_visible()
    top = page.locator(".view-line").filter(has_text="nosuch").bounding_box()["y"]
    assert any(abs(markers.nth(at).bounding_box()["y"] - top) < 20 for at in range(markers.count()))


def test_tabs_are_kept_in_the_browser(tidewater):
    page = tidewater.open("/Samples").page
    tidewater.write("print kept = 1")
    page.keyboard.press("Alt+n")
    tidewater.write("print second = 2")
    tabs = page.get_by_role("tablist", name="Queries").get_by_role("tab")
    expect(tabs).to_have_count(2)
    tidewater.open()
    expect(tabs).to_have_count(2)
    expect(page.locator(".view-lines")).to_contain_text("second")
    tabs.first.click()
    expect(page.locator(".view-lines")).to_contain_text("kept")
    tabs.first.press("Delete")
    expect(tabs).to_have_count(1)
    expect(page.locator(".view-lines")).to_contain_text("second")


@pytest.mark.parametrize("encoded", ["print%20x%20%3D%20%22%2B%20%26%20ü%22", packed('print x = "+ & ü"')])
def test_a_link_opens_its_query_and_runs_it(tidewater, encoded):
    page = tidewater.open(f"/Samples?query={encoded}&web=1").page
    tidewater.ended()
    assert tidewater.rows() == [["+ & ü"]]
    expect(page.get_by_role("combobox", name="Database")).to_have_value("Samples")
    # A reload neither opens nor runs it again.
    tidewater.open(page.url.removeprefix(tidewater.url))
    expect(page.locator(".empty")).to_be_visible()
    expect(page.get_by_role("tablist", name="Queries").get_by_role("tab")).to_have_count(1)


def test_autorun_false_waits(tidewater):
    page = tidewater.open(f"/Samples?query={packed('print x = 1')}&autorun=false").page
    expect(page.locator(".view-lines")).to_contain_text("print x = 1")
    expect(page.locator(".results .empty")).to_be_visible()
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    assert tidewater.rows() == [["1"]]


@pytest.mark.parametrize("text", [
    ".create table Evil (a: long)", "// harmless\n.create table Evil (a: long)", "print 1\n\n.create table Evil (a: long)",
    "\ufeff .create table Evil (a: long)", "print 1 | as x; .create table Evil (a: long)"])
def test_a_link_never_runs_a_command(tidewater, server, text):
    asked = []
    tidewater.page.on("request", lambda request: asked.append(request.post_data or ""))
    page = tidewater.open(f"/NetDefaultDB?query={packed(text)}").page
    expect(page.locator(".view-lines")).to_contain_text("Evil")
    expect(page.locator(".editor[data-knows]")).to_be_visible()
    assert not any("Evil" in body and "mgmt" in body for body in asked)
    assert "Evil" not in [row[0] for row in server.command(".show tables")]


def test_a_links_parameters_fill_its_text(tidewater):
    text = packed('print city = "{City}"')
    tidewater.open(f"/Samples?query={text}&City=Oslo")
    tidewater.ended()
    assert tidewater.rows() == [["Oslo"]]


def test_a_shared_link_leads_back(tidewater):
    page = tidewater.open("/Samples").page
    tidewater.run('print greeting = "hello + wörld"')
    page.get_by_role("button", name="Share").click()
    page.get_by_role("menuitem", name="Copy link to this query").click()
    expect(page.locator(".toast")).to_have_text("Link copied.")
    link = tidewater.clipboard()
    assert link.startswith(f"{tidewater.url}/Samples?query=H4sI")
    tidewater.open(link.removeprefix(tidewater.url))
    tidewater.ended()
    assert tidewater.rows() == [["hello + wörld"]]


def test_files_are_compressed_and_policed(server):
    index = requests.get(f"{server.url}/ui/", headers={"accept-encoding": "gzip"})
    assert index.headers["content-encoding"] == "gzip"
    policy = index.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "<script type=\"module\" crossorigin src=\"/ui/assets/" in index.text and "onclick" not in index.text
