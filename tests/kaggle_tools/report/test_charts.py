"""Charts: well-formed, in the colours of the theme only, whatever names and values are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from kaggle_tools.report.charts import bars, heatmap, histogram, scatter, to_png, to_svg
from kaggle_tools.report.charts.points import _labels
from kaggle_tools.report.svg import inline
from kaggle_tools.report.theme import LIGHT
from tests.kaggle_tools.report.pages import EVIL, NAMES, charts


@pytest.mark.parametrize("name", sorted(charts()))
def test_every_chart_is_drawn_in_colours_of_the_theme(name):
    chart = charts()[name]
    for spec in (chart.wide, chart.narrow):
        if spec is None:
            continue
        svg = inline(spec)
        root = ElementTree.fromstring(svg)
        colours = {e.attrib[p] for e in root.iter() for p in ("fill", "stroke") if p in e.attrib} - {
            "none",
            "transparent",
        }
        assert colours <= set(LIGHT.values())
        assert len([e for e in root.iter() if e.tag in ("path", "line", "text")]) > 5
        assert "<script" not in svg


@pytest.mark.parametrize("name", sorted(charts()))
def test_drawings_fit_their_column(name):
    chart = charts()[name]
    for spec, most in ((chart.wide, 770), (chart.narrow, 350)):
        if spec is not None:
            width = float(re.search(r'viewBox="0 0 ([\d.]+)', inline(spec))[1])
            assert width <= most


def test_marks_say_what_they_are():
    titles = [e.text for e in ElementTree.fromstring(inline(bars(NAMES, [1, 2, 3, 4.5]).wide)).iter("title")]
    assert any(title.startswith(EVIL) for title in titles)
    assert any("4.500" in title for title in titles)


def test_cells_without_a_value_are_left_out():
    titles = ElementTree.fromstring(inline(heatmap([[1, np.nan], [np.nan, 2]], "ab", "ab").wide)).iter("title")
    assert [title.text for title in titles] == ["a × a\n1.00", "b × b\n2.00"]


def test_shade_follows_the_value():
    svg = ElementTree.fromstring(inline(heatmap([[0.0, 0.5, 1.0]], ["r"], ["x", "y", "z"]).wide))
    fills = [e.attrib["fill"] for e in svg.iter("path") if e.find("title") is not None]
    assert fills == [LIGHT["step-0"], LIGHT["step-4"], LIGHT["step-8"]]


@pytest.mark.parametrize("values", [[[3.0]], [[2.0, 2.0], [2.0, 2.0]], [[np.nan]]])
def test_matrices_without_a_range_are_drawn(values):
    names = [str(i) for i in range(len(values))]
    assert inline(heatmap(values, names, names).wide).startswith("<svg")


def test_names_may_hold_what_xml_forbids():
    assert "\ufffd" in inline(bars(["a\x00b", "bell \x07"], [1.0, 2.0]).wide)


def test_two_models_may_have_one_name():
    svg = inline(heatmap([[1, 0.5], [0.5, 1]], ["same", "same"], ["same", "same"]).wide)
    assert svg.count("<title>") == 4


def test_shares_of_a_histogram_are_of_its_own_rows():
    titles = [
        e.text for e in ElementTree.fromstring(inline(histogram([0, 10, 20], {"test": [3, 1]}).wide)).iter("title")
    ]
    assert titles == ["test\n0 to 10: 75.0%, 3 rows", "test\n10 to 20: 25.0%, 1 rows"]


def test_labels_of_points_do_not_overlap():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    names = [f"model {i}" for i in range(60)]
    placed = _labels(x.tolist(), y.tolist(), names, 690, 340)
    shown = [i for found in placed.values() for i in found]
    assert len(shown) == len(set(shown))
    assert 10 < len(shown) < 60


def test_points_at_one_place_are_drawn():
    assert inline(scatter([1.0, 1.0], [2.0, 2.0], ["a", "b"], x_title="x", y_title="y").wide)


def test_charts_can_be_files():
    chart = charts()["heatmap"]
    assert 'width="' in to_svg(chart.wide)
    assert to_png(chart.wide).startswith(b"\x89PNG")
