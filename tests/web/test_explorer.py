"""The explorer: what there is, previews, names, loading files, stored functions; and use without a mouse or by ear."""
import os
import pathlib

import pytest
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
    tidewater.run("Flights | take 50")
    assert AXE, "axe-core is among the page's packages: make web"

    def check(what):
        # Through the protocol, for the page's own policy lets no script in. The editor's colours are Monaco's.
        page.evaluate(AXE.read_text())
        found = page.evaluate("""() => axe.run({exclude: ['.monaco-editor']}, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'],
            // A branch of a tree holds its children, which its name leaves out.
            rules: {'label-content-name-mismatch': {enabled: false}}})""")
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
