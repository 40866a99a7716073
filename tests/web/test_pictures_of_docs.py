"""The pictures in docs/page.md: drawn anew with --update-pictures, and always walked through."""
import io

import pytest
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
