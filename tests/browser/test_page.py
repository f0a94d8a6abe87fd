"""A page in a real browser without network: charts, tables, themes, phones, keyboards."""

import re

import pytest

from kaggle_tools.report import write_page
from tests.browser.chromium import Visit, browser
from tests.kaggle_tools.report.pages import EVIL, page
from tests.kaggle_tools.report.test_page import contrast

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page.html"
    write_page(page(), file)
    return file


@pytest.fixture(scope="module")
def running():
    with browser() as one:
        yield one


@pytest.fixture
def visit(running, path):
    visits = []

    def open_page(**options):
        visits.append(Visit(running, path, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.context.close()
        assert one.errors == []
        assert one.asked == []


def first_table(opened):
    return opened.page.locator("section:nth-of-type(2) .table").first


def cells(opened, index):
    rows = first_table(opened).locator("tbody tr:not([hidden])")
    return rows.evaluate_all(f"rows => rows.map(row => row.cells[{index}].textContent)")


def test_text_is_shown_as_text(visit):
    opened = visit()
    assert opened.page.title().startswith(EVIL)
    assert opened.page.locator("h1").inner_text() == EVIL
    assert opened.page.locator("main b, main script, main form").count() == 0
    assert "👻" in opened.page.locator("main").inner_text()


def test_every_chart_is_drawn(visit):
    opened = visit()
    sizes = opened.page.locator(".plot:visible svg").evaluate_all(
        "all => all.map(svg => [svg.getBoundingClientRect().width, svg.getBoundingClientRect().height, "
        "svg.querySelectorAll('path, line, text').length])"
    )
    assert len(sizes) == len(page().sections[2].blocks) - 1 + len(page().sections[2].blocks[-1].figures)
    assert all(width > 150 and height > 20 and marks > 5 for width, height, marks in sizes)


def test_tables_sort_by_number_and_by_text(visit):
    opened = visit()
    heading = first_table(opened).locator("th[scope=col]").nth(1)
    heading.locator("button").click()
    values = [float(text) for text in cells(opened, 1)]
    assert values == sorted(values, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert [float(text) for text in cells(opened, 1)] == sorted(values)
    assert heading.get_attribute("aria-sort") == "ascending"
    names = first_table(opened).locator("th[scope=col]").first
    names.locator("button").click()
    shown = cells(opened, 0)
    assert shown.index("row 2") < shown.index("row 10")  # as people count
    assert heading.get_attribute("aria-sort") is None


def test_tables_filter(visit):
    opened = visit()
    search = first_table(opened).locator("input[type=search]")
    search.fill("ghost ROW 11")
    assert cells(opened, 0) == ["row 11"]
    assert first_table(opened).locator("[role=status]").inner_text() == "1 of 12 rows"
    search.fill("<script>")
    assert cells(opened, 0) == [EVIL]
    search.fill("nothing like this")
    assert cells(opened, 0) == []


def test_the_keyboard_reaches_everything(visit):
    opened = visit()
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.className") == "skip"
    box = opened.page.locator(".skip").bounding_box()
    assert box["x"] >= 0
    seen = set()
    for _ in range(60):
        opened.page.keyboard.press("Tab")
        tag, outline = opened.page.evaluate(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        seen.add(tag)
        assert tag == "BODY" or outline == "solid"
    assert {"A", "BUTTON", "INPUT", "SUMMARY"} <= seen
    first_table(opened).locator("th button").first.focus()
    opened.page.keyboard.press("Enter")
    assert first_table(opened).locator("th[scope=col]").first.get_attribute("aria-sort") == "ascending"


def test_charts_tell_their_values(visit):
    opened = visit()
    opened.page.locator(".plot:visible [data-tip]").first.hover()
    opened.page.wait_for_timeout(300)  # until the page has come to rest: scrolling hides tooltips
    opened.page.locator(".plot:visible [data-tip]").first.hover(position={"x": 3, "y": 3})
    tip = opened.page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text().startswith(EVIL)
    assert opened.page.locator(".plot title").count() == 0  # the browser's own tooltip would be a second one


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(visit, width):
    opened = visit(viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    wide, narrow = (
        opened.page.locator(".plot.wide:visible").count(),
        opened.page.locator(".plot.narrow:visible").count(),
    )
    assert (wide == 0 and narrow > 0) if width <= 640 else (narrow == 0 and wide > 0)


@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_is_cut_off_or_lies_over_another(visit, width):
    """Of the labels in one drawing, as the browser lays them out."""
    opened = visit(viewport={"width": width, "height": 800})
    boxes = opened.page.locator(".plot:visible svg").evaluate_all(
        """all => all.map(svg => {
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].filter(t => !t.getCTM().b).map(t => {
                const b = t.getBoundingClientRect();
                const [x, y] = [frame.left, frame.top];
                return [b.left - x, b.top - y, b.right - x, b.bottom - y, frame.width, t.textContent];
            });
        })"""
    )
    for drawing in boxes:
        drawing = [box for i, box in enumerate(drawing) if box not in drawing[:i]]  # a label and the halo below it
        for i, (left, top, right, bottom, frame, text) in enumerate(drawing):
            assert left >= -6, text
            assert right <= frame + 6, text
            for x, y, u, v, _, other in drawing[:i]:
                # Boxes are as high as the font's lines, which are higher than its letters.
                overlap = min(right, u) - max(left, x) > 1 and min(bottom, v) - max(top, y) > 5
                assert not overlap, (text, other)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_as_computed(visit, scheme):
    opened = visit(color_scheme=scheme)
    found = opened.page.evaluate(
        """() => {
            const solid = element => {
                for (let e = element; e; e = e.parentElement) {
                    const colour = getComputedStyle(e).backgroundColor;
                    if (!/rgba\\(.*, 0\\)|transparent/.test(colour)) return colour;
                }
                return 'rgb(255, 255, 255)';
            };
            return [...document.querySelectorAll('h1,h2,h3,p,li a,dt,.value,td,th,caption,summary,button,input')]
                .filter(e => e.checkVisibility())
                .map(e => [e.textContent.slice(0, 30), getComputedStyle(e).color, solid(e)]);
        }"""
    )
    assert len(found) > 50
    for text, ink, ground in found:
        assert contrast(hexadecimal(ink), hexadecimal(ground)) >= 4.5, (text, ink, ground)
    labels = opened.page.locator(".plot:visible text").evaluate_all("all => all.map(t => getComputedStyle(t).fill)")
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(contrast(hexadecimal(fill), hexadecimal(paper)) >= 4.5 for fill in labels) > len(labels) / 2


def hexadecimal(colour):
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])


def test_the_theme_follows_the_system_until_the_button_is_used(visit):
    def paper():
        return opened.page.evaluate("getComputedStyle(document.body).backgroundColor")

    opened = visit(color_scheme="dark")
    dark = paper()
    opened.page.locator("button.theme").click()
    light = paper()
    assert light != dark
    opened.page.emulate_media(color_scheme="light")
    assert paper() == light
    opened.page.locator("button.theme").click()
    assert paper() == dark


def test_paper_shows_what_is_folded(visit):
    opened = visit(color_scheme="dark")
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("details.fold:not([open])").count() == 0
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.page.locator(".contents").is_visible()
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.locator("details.fold:not([open])").count() > 0


def test_the_page_is_whole_without_its_script(visit):
    opened = visit(java_script_enabled=False)
    assert opened.page.locator("table").first.is_visible()
    assert opened.page.locator(".plot:visible svg title").count() > 0
