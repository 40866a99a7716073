#!/usr/bin/env python3
"""How fast the page is, in Chromium on loopback: the first load with a warm cache, and every way to work with 500,000 rows.

    page.py --server PATH/tidewater [--page DIRECTORY] [--rows 500000] [--runs 5]

Prints medians and the worst in milliseconds beside their goals: 1000 for the first load, 100 from a key or click to the
next picture. Needs the packages of tests/web/requirements.txt and Chromium. Ends with 1 when a median misses its goal.
"""
import argparse
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import sync_playwright

SAMPLES = pathlib.Path(__file__).resolve().parents[1] / "samples"
LOAD_GOAL, ACT_GOAL = 1000, 100

#: From an event to the second frame after it: by then the browser has painted what the event changed.
WATCH = """async (act) => {
    const started = performance.now();
    const grid = document.querySelector('.grid-scroll');
    const key = (key, more = {}) => grid.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true, ...more}));
    const acts = {
        scroll: () => { grid.scrollTop = Math.random() * grid.scrollHeight; },
        page: () => key('PageDown'),
        end: () => key('End', {ctrlKey: true}),
        choose: () => key('ArrowDown', {shiftKey: true}),
        open: () => key('Enter'),
        search: () => { const box = document.querySelector('.tools .search'); box.value = String(Math.random()).slice(2, 5); box.dispatchEvent(new Event('input')); },
        sort: () => document.querySelectorAll('.grid-name')[1].click(),
        tab: () => document.querySelector('.editor-tabs [role=tab]').click(),
        menu: () => document.querySelector('[aria-label="Copy and export"]').click(),
    };
    acts[act]();
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - started;
}"""
ACTS = ["scroll", "page", "end", "choose", "open", "sort", "search", "tab", "menu"]


def start(arguments, directory):
    command = [arguments.server, "serve", "--listen", "127.0.0.1:0", "--data", str(directory / "data"), "--samples", str(SAMPLES)]
    if arguments.page:
        command += ["--set", f"page_dir={arguments.page}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, re.search(r"listens on (\S+)", process.stdout.readline()).group(1)


def told(what, millis, goal):
    median = statistics.median(millis)
    print(f"{what:32} {median:8.0f} ms  worst {max(millis):8.0f} ms  goal {goal:5} ms  {'' if median <= goal else 'MISSED'}")
    return median <= goal


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--page")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        server, url = start(arguments, pathlib.Path(directory))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.goto(f"{url}/Samples")
            page.locator(".editor[data-knows]").wait_for()
            loads = []
            for _ in range(arguments.runs):
                started = time.monotonic()
                page.reload()
                page.locator(".editor .view-lines").wait_for()
                loads.append(1000 * (time.monotonic() - started))
            good &= told("first load, warm cache", loads, LOAD_GOAL)
            page.locator(".editor[data-knows]").wait_for()
            query = f"set notruncation; range n from 1 to {arguments.rows} step 1 | extend text = strcat('row ', n), half = n / 2.0, day = datetime(2024-01-01) + n * 1s, flag = n % 2 == 0"
            page.locator(".editor .view-lines").click()
            page.keyboard.press("Control+a")
            page.keyboard.insert_text(query)
            started = time.monotonic()
            page.keyboard.press("Shift+Enter")
            page.get_by_text(f"{arguments.rows:,} rows").wait_for(timeout=120_000)
            page.locator(".results:not(.running)").wait_for(timeout=120_000)
            print(f"{arguments.rows:,} rows of five columns streamed in within {time.monotonic() - started:.1f} s")
            for act in ACTS:
                millis = []
                for _ in range(arguments.runs):
                    millis.append(page.evaluate(WATCH, act))
                    page.keyboard.press("Escape")
                    page.locator(".grid:not(.busy)").wait_for()
                good &= told(act, millis, ACT_GOAL)
        finally:
            browser.close()
            server.terminate()
            server.wait()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
