"""Jobs: submitted, listed, looked at with their rows, saved, cancelled, deleted."""
import requests
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


def part(page, name):
    page.get_by_role("tablist", name="Jobs, templates, schedules").get_by_role("tab", name=name).click()


def test_a_template_runs_with_values_and_is_changed(tidewater):
    page = tidewater.open("/Samples?page=jobs", ready=False).page
    part(page, "Templates")
    expect(page.get_by_text("There are no such templates.")).to_be_visible()
    page.get_by_role("button", name="New template").click()
    box = page.get_by_role("dialog")
    box.get_by_label("Name").fill("Sum <i>")
    box.get_by_label("SQL").fill("SELECT $n + 1 AS more, '$word' AS word -- $nothing")
    box.get_by_label("Value of $n").fill("41")
    expect(box.get_by_label("Value of")).to_have_count(2)
    box.get_by_role("button", name="Save").click()
    expect(box).to_have_count(0)
    page.get_by_role("button", name="Run Sum <i>").click()
    expect(box.get_by_label("Value of $n")).to_have_value("41")
    box.get_by_label("Value of $word").fill("it's")
    box.get_by_label("Name").fill("from the template")
    box.get_by_role("button", name="Submit").click()
    row = page.get_by_role("row").filter(has_text="from the template")
    expect(row).to_contain_text("SUCCESS")
    row.get_by_role("button").click()
    box = page.get_by_role("dialog", name="from the template")
    expect(box.locator(".grid-cell")).to_have_text(["42", "it's"])
    box.get_by_role("button", name="Close").click()
    part(page, "Templates")
    page.get_by_role("button", name="Sum <i>", exact=True).click()
    box = page.get_by_role("dialog", name="Edit template")
    box.get_by_label("Name").fill("Renamed")
    box.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Delete Renamed").click()
    expect(page.get_by_text("There are no such templates.")).to_be_visible()


def test_a_schedule_tells_its_next_runs_and_keeps_its_runs(tidewater):
    page = tidewater.open("/Samples?page=jobs", ready=False).page
    part(page, "Schedules")
    expect(page.get_by_text("There are no schedules.")).to_be_visible()
    page.get_by_role("button", name="New schedule").click()
    box = page.get_by_role("dialog")
    box.get_by_label("Name").fill("Yearly")
    box.get_by_label("SQL").fill("SELECT 7 AS seven")
    box.get_by_label("When (cron").fill("nonsense nonsense nonsense nonsense nonsense")
    box.get_by_role("button", name="Save").click()
    expect(box.get_by_role("alert")).to_contain_text("nonsense")
    box.get_by_label("When (cron").fill("30 12 1 1 *")
    box.get_by_label("Time zone").fill("Europe/Oslo")
    box.get_by_role("button", name="Save").click()
    expect(box).to_have_count(0)
    row = page.get_by_role("row").filter(has_text="Yearly")
    expect(row).to_contain_text("ENABLED")
    expect(row).to_contain_text("30 12 1 1 * (Europe/Oslo)")
    expect(row).to_contain_text("-01-01 11:30:00")
    row.get_by_role("button").click()
    box = page.get_by_role("dialog", name="Schedule Yearly")
    expect(box.get_by_role("list").get_by_role("listitem")).to_contain_text(["-01-01 11:30:00"] * 5)
    expect(box.get_by_text("It has not run yet.")).to_be_visible()
    box.get_by_role("button", name="Run now").click()
    run = box.get_by_role("row").filter(has_text="somebody")
    expect(run).to_contain_text("SUCCESS")
    run.get_by_role("button").click()
    job = page.get_by_role("dialog", name="Yearly, ")
    expect(job.locator(".grid-cell")).to_have_text(["7"])
    job.get_by_role("button", name="Close").click()
    box.get_by_role("button", name="Disable").click()
    expect(box.get_by_role("button", name="Enable")).to_be_visible()
    expect(row).to_contain_text("DISABLED")
    box.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There are no schedules.")).to_be_visible()


def test_jobs_are_filtered_and_paged(tidewater, server):
    mine = {"x-gw-ims-org-id": "paging", "x-sandbox-name": "prod", "x-api-key": "bob"}
    for number in range(60):
        answer = requests.post(f"{server.url}/queries", json={"dbName": "prod:all", "sql": f"SELECT {number} AS n", "name": f"number {number}"}, headers=mine)
        assert answer.status_code == 202, answer.text
    page = tidewater.open("/Samples?page=jobs", ready=False).page
    page.get_by_label("Organisation").fill("paging")
    page.get_by_label("Organisation").press("Enter")
    rows = page.locator(".jobs-list tbody tr")
    expect(rows).to_have_count(50)
    expect(page.get_by_role("button", name="Newer")).to_be_disabled()
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(10)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    page.get_by_role("button", name="Newer").click()
    expect(rows).to_have_count(50)
    page.get_by_role("searchbox", name="SQL contains").fill("SELECT 59 ")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("number 59")
    page.get_by_role("searchbox", name="By").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There are no such jobs.")).to_be_visible()
    page.get_by_role("searchbox", name="By").fill("bob")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    page.get_by_label("Started on or before").fill("2020-01-01")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(0)


def test_sql_in_the_editor_runs_as_a_job(tidewater):
    page = tidewater.open("/Samples").page
    page.get_by_role("combobox", name="Language").select_option("SQL job")
    tidewater.run("SELECT origin, count(*) AS n FROM \"Flights\" GROUP BY origin ORDER BY n DESC")
    assert tidewater.rows() == [["EWR", "120835"], ["JFK", "111279"], ["LGA", "104662"]]
    expect(page.get_by_role("button", name="Pin to a dashboard")).to_have_count(0)
    tidewater.run("SELECT nosuch FROM \"Flights\"")
    expect(tidewater.fault()).to_contain_text("nosuch")
    tidewater.write("SELECT * FROM Airl")
    page.keyboard.press("Control+Space")
    expect(page.locator(".suggest-widget .monaco-list-row").filter(has_text="Airlines").first).to_be_visible()
    page.keyboard.press("Escape")
    # The tab stays one of SQL, and others are not.
    tidewater.open("/Samples")
    expect(page.get_by_role("combobox", name="Language")).to_have_value("sql")
    page.keyboard.press("Alt+n")
    expect(page.get_by_role("combobox", name="Language")).to_have_value("kql")
