from xml.etree import ElementTree

import pytest

from reward.chart import Chart, Series, round_step
from reward.chart_plot import plain
from reward.chart_svg import chart_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series, width=640, **more):
    return ElementTree.fromstring(chart_svg(Chart("c", "title", "x", "y", series, **more), width, 300))


def texts(root):
    return [each.text for each in root.iter(f"{SVG}text")]


def test_values_are_where_the_axes_say():
    root = drawn(Series("a", [0, 5, 10], [0.0, 0.5, 1.0]))
    points = [tuple(map(float, pair.split(","))) for pair in root.find(f"{SVG}polyline").attrib["points"].split()]
    # 640 x 300 less the margins 70, 20, 56 and 52: x from 70 to 620, y from 248 up to 56.
    assert points == [(70, 248), (345, 152), (620, 56)]
    assert texts(root)[:1] == ["title"]
    assert {"0.0", "0.2", "1.0", "0", "10", "x", "y"} <= set(texts(root))


def test_steps_are_ticked_by_whole_round_numbers():
    ticks = texts(drawn(Series("loss", list(range(1, 1001)), [1 / i for i in range(1, 1001)])))
    assert {"100", "200", "1000"} <= set(ticks)
    assert "101" not in ticks
    assert {"1", "2", "3", "4"} <= set(texts(drawn(Series("gain", [1, 2, 3, 4], [0, 1, 2, 3]))))


def test_intervals_are_a_band_or_bars_only_where_they_are_known():
    known = Series("a", [0, 1, 2], [1, 2, 3], [0, None, 2], [2, None, 4])
    assert len(drawn(known).find(f"{SVG}polygon").attrib["points"].split()) == 4
    bars = Series("a", [0, 1, 2], [1, 2, 3], [0, None, 2], [2, None, 4], bars=True, points=True)
    root = drawn(bars)
    assert root.find(f"{SVG}polygon") is None
    assert len([each for each in root.iter(f"{SVG}line") if "bar" in each.attrib["class"]]) == 2
    assert len(root.findall(f"{SVG}circle")) == 3


def test_legends_wrap_and_make_room():
    names = [f"a rather long name of line {i}" for i in range(4)]
    root = drawn(*(Series(name, [0, 1], [0, 1]) for name in names), width=320)
    places = [
        (float(each.attrib["x"]), float(each.attrib["y"])) for each in root.iter(f"{SVG}text") if each.text in names
    ]
    assert places == [(104, 42), (104, 60), (104, 78), (104, 96)]
    top = min(float(pair.split(",")[1]) for pair in root.find(f"{SVG}polyline").attrib["points"].split())
    assert top == 110


def test_small_values_have_short_labels():
    marks = texts(drawn(Series("drift", [0, 1], [0.0, 1.2e-5])))
    assert {"0", "5e-06", "1e-05", "1.5e-05"} <= set(marks)
    close = texts(drawn(Series("loss", [0, 1], [0.69312, 0.69315])))
    assert "0.69312" in close


def test_a_line_that_the_title_names_needs_no_legend():
    assert texts(drawn(Series("title", [0, 1], [0, 1]))).count("title") == 1
    assert "judge" in texts(drawn(Series("judge", [0, 1], [0, 1])))


def test_one_value_and_equal_values_are_drawn():
    for series in (Series("a", [3], [0.5]), Series("a", [1, 2], [0.5, 0.5]), Series("a", [1, 2], [0.0, 0.0])):
        root = drawn(series)
        assert "nan" not in ElementTree.tostring(root).decode()
        assert root.find(f"{SVG}polyline") is not None


def test_texts_are_data():
    root = drawn(Series("<a> & b", [0, 1], [0, 1]), Series("b", [0, 1], [0, 1]))
    assert "<a> & b" in texts(root)
    assert root.find(f"{SVG}title").text == "title: y over x; <a> & b from 0 to 1; b from 0 to 1"
    assert plain("$x$ costs $5") == r"\$x\$ costs \$5"


@pytest.mark.parametrize(("span", "step"), [(1, 0.2), (0.9, 0.2), (10, 2), (7, 2), (5e-4, 1e-4), (0.3, 0.1)])
def test_steps_are_round(span, step):
    assert round_step(span) == pytest.approx(step)
