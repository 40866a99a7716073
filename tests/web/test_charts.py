"""Every visualization of `render` draws, and looks as it did: pictures are compared coarsely, as fonts differ."""
import io
import pathlib

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import expect

from conftest import Tidewater

PICTURES = pathlib.Path(__file__).parent / "pictures"
SIZE = (64, 32)
#: Mean difference of brightness, of 255, beyond which a picture is another one.
TOLERANCE = 9

DAYS = "range day from datetime(2024-01-01) to datetime(2024-01-20) step 1d"
TWO = f"{DAYS} | extend n = datetime_part('day', day) | mv-expand which = dynamic(['a', 'b']) to typeof(string) | project day, which, n = iff(which == 'a', n, 30 - n)"
FRUIT = "datatable(fruit: string, sold: long, left: long) ['apple', 5, 3, 'pear', 8, 1, 'plum', 2, 6, 'fig', 4, 4]"
POINTS = "datatable(city: string, lon: real, lat: real, n: long) ['Oslo', 10.7, 59.9, 5, 'Rome', 12.5, 41.9, 20, 'Lima', -77.0, -12.0, 9]"
CHARTS = {
    "timechart": f"{TWO} | render timechart with (title='Two', xtitle='Day', ytitle='Count', ymin=0, ymax=40)",
    "timechart-axes": f"{DAYS} | extend n = datetime_part('day', day), m = 1000 * datetime_part('day', day) | render timechart with (ysplit=axes)",
    "timechart-panels": f"{DAYS} | extend n = datetime_part('day', day), m = 1000 - datetime_part('day', day) | render timechart with (ysplit=panels)",
    "timechart-series": f"{TWO} | make-series n = sum(n) on day from datetime(2024-01-01) to datetime(2024-01-20) step 1d by which | render timechart",
    "linechart": "range x from 1 to 50 step 1 | extend y = x * x | render linechart with (yaxis=log, legend=hidden)",
    "columnchart": f"{FRUIT} | render columnchart",
    "columnchart-stacked": f"{FRUIT} | render columnchart with (kind=stacked, ycolumns=sold, left)",
    "columnchart-stacked100": f"{FRUIT} | render columnchart with (kind=stacked100)",
    "barchart": f"{FRUIT} | render barchart with (title='Fruit')",
    "barchart-stacked": f"{FRUIT} | render barchart with (kind=stacked, ysplit=none, legend=hidden)",
    "barchart-stacked100": f"{FRUIT} | render barchart with (kind=stacked100, xtitle='Fruit')",
    "columnchart-unstacked": f"{FRUIT} | render columnchart with (kind=unstacked, series=fruit, ymax=12)",
    "areachart-unstacked": f"{TWO} | render areachart with (kind=unstacked)",
    "linechart-series": f"{TWO} | extend k = datetime_part('day', day) | project k, which, n | render linechart with (xcolumn=k, series=which, ymin=-5, xaxis=linear)",
    "stackedareachart-100": f"{TWO} | render stackedareachart with (kind=stacked100)",
    "timepivot": "datatable(job: string, started: datetime, ended: datetime) ['a', datetime(2024-01-01), datetime(2024-01-03), "
                 "'b', datetime(2024-01-02), datetime(2024-01-05)] | render timepivot",
    "treemap-nested": "datatable(land: string, city: string, n: long) ['N', 'Oslo', 7, 'N', 'Bergen', 3, 'I', 'Rome', 9] | render treemap",
    "areachart": f"{TWO} | render areachart",
    "areachart-stacked": f"{TWO} | render areachart with (kind=stacked)",
    "areachart-stacked100": f"{TWO} | render areachart with (kind=stacked100)",
    "stackedareachart": f"{TWO} | render stackedareachart",
    "scatterchart": "range x from 1 to 200 step 1 | extend y = (x * 7919) % 101 | render scatterchart",
    "scatterchart-map": f"{POINTS} | render scatterchart with (kind=map)",
    "piechart": f"{FRUIT} | render piechart",
    "piechart-map": f"{POINTS} | render piechart with (kind=map)",
    "card": "print Flights = 336776, Late = '12 %' | render card with (title='Figures')",
    "treemap": f"{FRUIT} | project fruit, sold | render treemap",
    "ladderchart": "datatable(job: string, started: datetime, ended: datetime) ['a', datetime(2024-01-01), datetime(2024-01-03), "
                   "'b', datetime(2024-01-02), datetime(2024-01-05), 'c', datetime(2024-01-04), datetime(2024-01-06)] | render ladderchart",
    "anomalychart": f"{DAYS} | summarize day = make_list(day), n = make_list(datetime_part('day', day) % 7), odd = make_list(iff(datetime_part('day', day) in (5, 13), 1, 0)) "
                    "| render anomalychart with (anomalycolumns=odd)",
    "pivotchart": f"{FRUIT} | render pivotchart",
    "plotly": "print plotly = '{\"data\": [{\"type\": \"bar\", \"x\": [\"a\", \"b\"], \"y\": [3, 5]}], \"layout\": {\"title\": {\"text\": \"By Plotly\"}}}' | render plotly",
}
#: Drawn by the page itself, not on a canvas.
PLAIN = {"card", "pivotchart"}


@pytest.fixture(scope="module")
def drawn(server, shared):
    """One page for all charts: starting the editor for each would only cost time."""
    watched = Tidewater(shared, server.url)
    watched.open("/Samples")
    yield watched
    watched.page.close()
    assert watched.troubles == []


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_drawn_as_before(drawn, request, name):
    page = drawn.page
    drawn.run(CHARTS[name])
    chart = page.locator(".chart")
    expect(drawn.fault()).to_have_count(0)
    if name not in PLAIN:
        expect(page.locator(".chart[data-drawn]")).to_be_visible()
    expect(chart).not_to_contain_text("cannot be drawn")
    page.mouse.move(5, 5)
    picture = Image.open(io.BytesIO(chart.screenshot())).convert("L").resize(SIZE, Image.Resampling.BOX)
    kept = PICTURES / f"{name}.png"
    if request.config.getoption("--update-pictures"):
        PICTURES.mkdir(exist_ok=True)
        picture.save(kept, optimize=True)
    assert ImageStat.Stat(picture).stddev[0] > 1, "the picture is empty"
    difference = ImageStat.Stat(ImageChops.difference(picture, Image.open(kept).convert("L"))).mean[0]
    assert difference < TOLERANCE, f"{name} looks different ({difference:.1f})"


def test_a_result_is_drawn_by_hand_and_its_picture_saved(drawn):
    page = drawn.page
    drawn.run(FRUIT)
    page.get_by_role("combobox", name="Draw as").select_option("piechart")
    expect(page.locator(".chart[data-drawn]")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    picture = Image.open(download.value.path())
    assert picture.size[0] > 800 and download.value.suggested_filename == "chart.png"


def test_what_cannot_be_drawn_says_why(drawn):
    drawn.run("print a = 'text' | render piechart")
    expect(drawn.page.locator(".chart .empty")).to_contain_text("column of numbers")
