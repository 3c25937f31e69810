"""The page in a real browser (Debian's chromium, headless): it sorts, filters, opens details, plots, and stays quiet."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from browsers import chromium, missing
from records import family

from suite.record import read_all, write_text
from suite.reporting import page
from suite.reporting.content import gather
from suite.reporting.declare import Report, load
from suite.reporting.render import write

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

ROOT = Path(__file__).parents[2]
METHODS = ("one_by_n", "l1_filter", "magnitude", "random_filter", "<script>alert(1)</script>")
RECORDS = [item for scale in ("short", "long") for source in ("embedded", "subset") for arch in ("resnet20", "resnet56") for seed in range(6)
           for item in family(seed, {name: 1.0 + place for place, name in enumerate(METHODS)}, scale=scale, source=source, arch=arch)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with the page of 576 records open."""
    folder = tmp_path_factory.mktemp("page")
    write_text(folder / "index.html", page.page(gather(Report("The title"), RECORDS), "../results"))
    driver = chromium(folder)
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})  # processor time: others may use it too
    driver.get((folder / "index.html").as_uri())
    yield driver
    driver.quit()


def script(browser, code, *arguments):
    return browser.execute_script(code, *arguments)


def wait(ready, seconds=20):
    end = time.monotonic() + seconds
    while not ready() and time.monotonic() < end:
        time.sleep(0.1)


def column(browser, place):
    """The shown cells of a column of the first table."""
    return script(browser, "return [...document.querySelector('main table.sortable').tBodies[0].rows].filter((row) => !row.hidden)"
                           ".map((row) => (row.cells[arguments[0]].querySelector('summary') ?? row.cells[arguments[0]]).textContent)", place)


def head(browser, place):
    return browser.find_elements("css selector", "main table.sortable")[0].find_elements("css selector", "thead tr:last-child > th > button")[place]


def search(browser, words):
    box = browser.find_element("css selector", "input[type=search]")
    box.clear()
    box.send_keys(words)
    return browser.find_element("css selector", "output").text


def test_five_hundred_records_load_quickly_and_quietly(browser):
    seconds = {item["name"]: item["value"] for item in browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    assert len(RECORDS) == 576 and 0 < seconds["TaskDuration"] < 2
    assert script(browser, "return document.querySelectorAll('main table.sortable > tbody > tr').length") == 96
    assert script(browser, "return window.Plotly === undefined")


def test_a_heading_sorts_by_number_and_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    head(browser, 1).click()
    up = [float(text.split()[0]) for text in column(browser, 1)]
    assert up == sorted(up) and up[0] < up[-1]
    head(browser, 1).send_keys(Keys.ENTER)
    assert [float(text.split()[0]) for text in column(browser, 1)] == up[::-1]
    assert script(browser, "return document.querySelector('main table.sortable th[aria-sort]').ariaSort") == "descending"
    head(browser, 2).click()  # change against the reference, which the reference itself has not
    assert column(browser, 2)[-1] == "–"


def test_the_filter_and_the_choices_leave_what_fits(browser):
    from selenium.webdriver.common.keys import Keys

    assert search(browser, "one_by_n sparsity=0.75") == "8 of 96 rows"
    assert column(browser, 0) == ["one_by_n n=4 sparsity=0.75"]
    browser.find_element("css selector", "select[name=source]").send_keys("subset")
    assert browser.find_element("css selector", "output").text == "4 of 96 rows"
    browser.find_element("css selector", "select[name=source]").send_keys(Keys.HOME)  # "all" is the first choice
    assert search(browser, "nothing like it") == "0 of 96 rows" and search(browser, " ") == "96 of 96 rows"


def wide(browser):
    browser.find_element("id", "wide").click()


def test_a_table_starts_with_eight_columns_and_shows_all_at_a_click(browser):
    shown = ("return [...document.querySelector('main table.sortable').tHead.rows].at(-1)"
             ".querySelectorAll('th').values().filter((head) => head.offsetParent !== null).map((head) => head.textContent).toArray()")
    assert script(browser, shown) == ["method", "top1 (%)", "vs reference", "MACs ≠ 0", "sparse 1T (ms)", "gain 1T"]
    wide(browser)
    assert len(script(browser, shown)) == 21
    wide(browser)
    assert len(script(browser, shown)) == 6


def test_details_open_with_command_and_links(browser):
    summary = browser.find_elements("css selector", "main table.sortable tbody summary")[4]
    summary.click()
    shown = browser.find_element("css selector", "details[open] .more").text
    assert "suite run cifar10" in shown and "Test CPU 2000" in shown and "A paper" in shown
    assert script(browser, "return document.querySelector('details[open] .more dl').getBoundingClientRect().width") > 300
    summary.click()


def test_column_groups_can_be_put_away(browser):
    wide(browser)
    box = browser.find_element("css selector", "input[name=cost]")
    count = "return [...document.querySelectorAll('td[data-kind=cost]')].filter((cell) => cell.offsetParent !== null).length"
    assert script(browser, count) > 0
    box.click()
    assert script(browser, count) == 0
    box.click()
    wide(browser)


def test_plots_are_drawn_when_opened(browser):
    browser.find_element("css selector", "details.plots > summary").click()
    wait(lambda: script(browser, "return document.querySelectorAll('.charts > div:last-child .points path').length") > 0)
    points = script(browser, "return document.querySelectorAll('.charts > div:nth-child(2) .points path').length")
    assert points == 12  # every row of the first table, against MACs
    wide = script(browser, "return [...document.querySelectorAll('.charts > div')].map((chart) => [chart.clientWidth, chart.querySelector('svg').clientWidth])")
    assert all(drawn <= room for room, drawn in wide)  # a plot wider than its place would be cut
    assert "alert(1)" in script(browser, "return document.querySelector('.charts .legend').textContent")  # shown, not run


def test_a_phone_scrolls_tables_and_not_the_page(browser):
    browser.set_window_size(500, 900)
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    wait(lambda: script(browser, fits))  # plots follow the window a moment later
    assert script(browser, fits)
    assert script(browser, "return [...document.querySelectorAll('main .scroll')].some((table) => table.scrollWidth > table.clientWidth)")
    browser.set_window_size(1400, 900)


def test_the_leaderboard_of_the_committed_records_renders_in_time_and_opens(browser, tmp_path):
    start = time.process_time()
    report = load("leaderboard", ROOT / "reports")
    content = gather(report, read_all(ROOT / "results"))
    write(content, tmp_path, "results")
    assert time.process_time() - start < 20
    browser.get((tmp_path / "index.html").as_uri())
    shown = browser.find_element("tag name", "body").text
    assert all(line in " ".join(shown.split()) for line in content.first)
    rows = sum(len(group.rows) for group in content.groups) + len(content.claims)
    assert browser.find_element("css selector", "output").text == f"{rows} of {rows} rows"
    for name in ("What the columns mean", "Claims"):
        assert name in shown


def test_the_console_is_quiet(browser):
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
