"""The pictures in docs/page.md: drawn anew with --update-pictures, and always walked through."""
import io

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from conftest import ROOT

CHART = ('Flights\n| summarize Flights = count() by origin, bin(time_hour, 7d)\n| render timechart with (title="Flights per week", ytitle="Flights")')
ROWS = "Flights\n| where dep_delay > 60\n| project time_hour, carrier, flight, origin, dest, dep_delay, more = bag_pack(\"plane\", tailnum, \"air_time\", air_time)\n| top 1000 by dep_delay"


def keep(request, page, name):
    if not request.config.getoption("--update-pictures"):
        return
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    place = ROOT / "docs" / "images"
    place.mkdir(exist_ok=True)
    picture.quantize(48, dither=Image.Dither.NONE).save(place / f"page-{name}.png", optimize=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_main_views(visit, server, request, theme):
    tidewater = visit(server.url, color_scheme=theme)
    page = tidewater.open("/Samples").page
    expect(page.locator(".editor[data-knows=Samples]")).to_be_visible()
    tidewater.write(CHART)
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    expect(page.locator(".chart[data-drawn]")).to_be_visible()
    expect(page.locator(".toast.shown")).to_have_count(0)
    if theme == "light":
        keep(request, page, "chart")
    tidewater.write(ROWS)
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    page.locator(".grid-cell.dynamic").first.dblclick()
    expect(page.get_by_role("complementary", name="Value")).to_be_visible()
    if theme == "dark":
        keep(request, page, "rows")


def test_the_dashboard_and_the_jobs(visit, server, request):
    tiles = [
        {"title": "Flights per week", "width": 8, "height": 5, "query": "Flights | where origin == airport or airport == 'all'\n| summarize Flights = count() by origin, bin(time_hour, 7d)\n| render timechart"},
        {"title": "Flights", "width": 4, "height": 2, "query": "Flights | where origin == airport or airport == 'all'\n| count", "visual": "card"},
        {"title": "Late by carrier", "width": 4, "height": 3, "query": "Flights | where origin == airport or airport == 'all'\n| summarize Late = avg(dep_delay) by carrier | top 6 by Late\n| render barchart with (legend=hidden)"},
        {"title": "Airlines", "width": 5, "height": 4, "query": "Airlines"},
        {"title": "Share of origins", "width": 7, "height": 4, "query": "Flights | where origin == airport or airport == 'all'\n| summarize count() by origin | render piechart"},
    ]
    parameters = [{"name": "airport", "label": "Airport", "type": "string", "value": "all", "choices": ["all", "JFK", "EWR", "LGA"]}]
    made = requests.post(f"{server.url}/v1/page/dashboards/Samples", json={"title": "Departures", "tiles": tiles, "parameters": parameters, "refresh": 300})
    page = visit(server.url).open(f"/Samples?page=dashboards&dashboard=Samples/{made.json()['id']}", ready=False).page
    expect(page.locator(".tile[data-loaded]")).to_have_count(5)
    expect(page.locator(".tile .chart[data-drawn]")).to_have_count(3)
    keep(request, page, "dashboard")
    requests.delete(f"{server.url}/v1/page/dashboards/Samples/{made.json()['id']}", headers={"if-match": made.headers["etag"]})
    mine = {"x-gw-ims-org-id": "pictures", "x-sandbox-name": "prod", "x-api-key": "ann"}
    for name, sql in [("Flights by origin", 'SELECT origin, count(*) AS n FROM "Flights" GROUP BY origin'), ("Late flights", 'SELECT * FROM "Flights" WHERE dep_delay > 600'),
                      ("A mistake", "SELECT nothing FROM nowhere")]:
        requests.post(f"{server.url}/queries", json={"dbName": "prod:Samples", "name": name, "sql": sql}, headers={**mine, "prefer": "wait=20"})
    page.get_by_role("navigation", name="Pages").get_by_role("button", name="Jobs").click()
    page.get_by_label("Organisation").fill("pictures")
    page.get_by_label("Organisation").press("Enter")
    expect(page.locator(".jobs-list tbody tr")).to_have_count(3)
    expect(page.locator(".state.SUCCESS")).to_have_count(2)
    keep(request, page, "jobs")


def test_loading_a_file(visit, server, request):
    page = visit(server.url, color_scheme="dark").open("/NetDefaultDB").page
    page.get_by_role("button", name="Load data").click()
    box = page.get_by_role("dialog", name="Load data")
    rows = [("2024-03-01T06:00:00Z", "harbour", 41, 3.25, '{""wind"": 4}'), ("2024-03-01T12:15:00Z", "bridge", 38, 2.75, '{""wind"": 6}'), ("2024-03-01T18:30:00Z", "harbour", 44, 3.5, "")]
    body = "measured,station,level,temperature,more\n" + "".join(f'{at},{where},{level},{warm},"{more}"\n' for at, where, level, warm, more in rows)
    box.get_by_label("Files").set_input_files({"name": "tides.csv", "mimeType": "text/csv", "buffer": body.encode()})
    expect(box.locator(".load-columns tbody tr")).to_have_count(5)
    assert [row.get_by_role("combobox").input_value() for row in box.locator(".load-columns tbody tr").all()] == ["datetime", "string", "long", "real", "dynamic"]
    box.get_by_label("Type of column 3").select_option("int")
    page.mouse.move(2, 2)
    keep(request, page, "load")
