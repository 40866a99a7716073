"""Jobs: submitted, listed, looked at with their rows, saved, cancelled, deleted."""
from playwright.sync_api import expect


def test_a_jobs_life(tidewater):
    page = tidewater.open("/Samples?page=jobs", ready=False).page
    expect(page.get_by_text("There are no such jobs.")).to_be_visible()

    def submit(name, sql):
        page.get_by_role("button", name="New job").click()
        box = page.get_by_role("dialog", name="New job")
        box.get_by_label("Name").fill(name)
        box.get_by_label("SQL").fill(sql)
        box.get_by_role("button", name="Submit").click()
        expect(box).to_have_count(0)

    submit("three <b>", "SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (9223372036854775807, '<script>')) AS t(n, s)")
    row = page.get_by_role("row").filter(has_text="three <b>")
    expect(row).to_contain_text("SUCCESS")
    row.get_by_role("button").click()
    box = page.get_by_role("dialog", name="three <b>")
    expect(box.locator(".grid-cell").filter(has_text="9223372036854775807")).to_be_visible()
    with page.expect_download() as download:
        box.get_by_role("button", name="Save rows").click()
        page.get_by_role("menuitem", name="as csv").click()
    assert open(download.value.path(), encoding="utf-8").read().splitlines()[0] == "n,s"
    box.get_by_role("button", name="Close").click()
    submit("wrong", "SELECT nothing FROM nowhere")
    failed = page.get_by_role("row").filter(has_text="wrong")
    expect(failed).to_contain_text("FAILED")
    page.get_by_role("combobox", name="State").select_option("SUCCESS")
    expect(failed).to_have_count(0)
    row.get_by_role("button").click()
    box.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There are no such jobs.")).to_be_visible()
    page.get_by_role("navigation", name="Pages").get_by_role("button", name="Query").click()
    expect(page.locator(".editor")).to_be_visible()
