"""Pictures are drawn of whatever figures there are, and say in words what is in them."""

from __future__ import annotations

import math
import re

import pytest
from lxml import etree

from flowgrad.errors import FlowGradError
from flowgrad.html.drawing import draw
from flowgrad.html.drawing.axes import scale, short
from flowgrad.html.figures import (
    MOST_LINES,
    Cloud,
    Figure,
    Heat,
    Interval,
    Intervals,
    Lines,
    Mark,
    Pair,
    Pairs,
    Region,
    Scatter,
    Series,
    Table,
)

NAN, INF = math.nan, math.inf
HOSTILE = "</text><script>window.hit=1</script>\"'&"
HEAD = (HOSTILE, "what is seen", ("file.csv",))


def lines(*ys, **more):
    series = tuple(Series(HOSTILE, tuple(range(1, len(y) + 1)), tuple(y)) for y in ys)
    return Lines(*HEAD, HOSTILE, HOSTILE, series, **more)


def intervals(*rows, reference=0.0):
    return Intervals(*HEAD, HOSTILE, tuple(Interval(HOSTILE, *row, "confirmed") for row in rows), reference)


def pairs(*values):
    return Pairs(*HEAD, HOSTILE, "before", "after", tuple(Pair(HOSTILE, *one) for one in values))


def scatter(*points, **more):
    x, y = zip(*points, strict=True) if points else ((), ())
    return Scatter(*HEAD, HOSTILE, HOSTILE, (Cloud(HOSTILE, x, y),), **more)


def heat(*rows, **more):
    names = tuple(HOSTILE for _ in rows)
    columns = tuple(HOSTILE for _ in (rows[0] if rows else ()))
    return Heat(*HEAD, HOSTILE, HOSTILE, HOSTILE, names, columns, rows, **more)


FIGURES = {
    "lines": lines([1.0, 2.0, 3.0], [3.0, NAN, 1.0]),
    "one point": lines([2.0]),
    "no line": lines(),
    "nothing known": lines([NAN, NAN]),
    "diverged": lines([1.0, 1e300, INF]),
    "equal": lines([2.0, 2.0]),
    "as large as numbers are": lines([-1.7e308, 1.7e308], marks=(Mark(1.0, 1.7e308, HOSTILE),)),
    "as small as numbers are": lines([5e-324, 1e-323], log_y=True),
    "huge heat": heat((-1.7e308, 1.7e308), (0.0, 1.0)),
    "a heat beyond its range": heat((-1e308, 1e308), value_range=(0.0, 1.0)),
    "zeros on a logarithmic axis": lines([0.0, -1.0, 3.0], log_y=True),
    "only zeros on a logarithmic axis": lines([0.0, 0.0], log_x=True, log_y=True),
    "a mark outside": lines([1.0, 2.0], marks=(Mark(NAN, 1.0, HOSTILE), Mark(2.0, 1e9, HOSTILE))),
    "band": Lines(*HEAD, "x", "y", (Series("a", (1.0, 2.0), (1.0, 2.0), (0.5, NAN), (2.0, 3.0)),)),
    "intervals": intervals((1.0, 0.5, 2.0), (-1.0, None, None), (None, None, None)),
    "an infinite interval": intervals((1.0, -INF, INF)),
    "no interval": intervals(),
    "no reference": intervals((3.0, 2.0, 4.0), reference=None),
    "pairs": pairs((1.0, 2.0), (None, 3.0), (INF, NAN)),
    "no pair": pairs(),
    "scatter": scatter((1.0, 2.0), (NAN, 3.0), log_y=True, region=Region(HOSTILE, x_high=0.0)),
    "no point": scatter(),
    "heat": heat((1.0, NAN, INF), (0.0, -1.0, 2.0), framed=((0, 1), (9, 9))),
    "logarithmic heat": heat((1.0, 0.0), (1e-30, 1e30), log=True),
    "no heat": heat(),
    "unknown heat": heat((NAN, NAN)),
    "large heat": heat(*([tuple(map(float, range(500)))] * 300)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_within_its_frame(name):
    drawing = draw(FIGURES[name], "f1")
    root = etree.fromstring(drawing.svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    assert root.get("role") == "img"
    assert [one.tag for one in root[:2]] == ["title", "desc"]
    assert root.get("aria-labelledby").split() == [one.get("id") for one in root[:2]]
    assert (root[0].text, root[1].text) == (HOSTILE, "what is seen")
    for number in re.findall(r"nan|inf", " ".join(one.get("d", "") for one in root.iter())):
        pytest.fail(f"a coordinate is {number}")
    for text in root.iter("text"):
        assert 0 <= float(text.get("x", 0)) <= width + 20
        assert 0 <= float(text.get("y", 0)) <= height
    assert not list(root.iter("script"))
    assert len(drawing.svg) < 60_000


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_table_of_bounded_length(name):
    table = FIGURES[name].table()
    assert len(table.rows) <= MOST_LINES
    assert {len(row) for row in table.rows} <= {len(table.columns)}
    assert len(table.numeric) == len(table.columns)


def test_what_is_not_known_is_not_drawn_as_zero():
    """A loss that is not known broke the line, and stood at 0."""
    path = etree.fromstring(draw(lines([1.0, NAN, 1.0]), "f").svg).xpath("string(//path[@class='l c0']/@d)")
    assert path.count("M") == 2
    assert "L" not in path
    empty = etree.fromstring(draw(heat((NAN, 5.0)), "f").svg)
    assert sum(one.get("d").count("M") for one in empty.iter("path")) == 1
    assert ("empty", "not known") in draw(heat((NAN, 5.0)), "f").legend


def test_a_figure_of_no_kind_is_refused():
    class Odd(Figure):
        def table(self):
            return Table("title", (), ())

    with pytest.raises(FlowGradError, match="Odd is no kind of figure"):
        draw(Odd("title", "text", ()), "f")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 1e-9), (1e-30, 1e30), (5.0, 5.0), (1.0, 1.5)])
@pytest.mark.parametrize("log", [False, True])
def test_axes_have_a_few_ticks_within_their_range(low, high, log):
    from flowgrad.html.drawing.axes import scale

    made = scale([low, high], 0.0, 100.0, log)
    ticks = made.ticks()
    assert 1 <= len(ticks) <= 13
    assert all(-5 <= made(tick) <= 105 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "told"),
    [(1e24, "1e24"), (1e-5, "1e-5"), (1.5e-7, "1.5e-7"), (10_000.0, "10,000"), (0.25, "0.25"), (0, "0")],
)
def test_labels_of_ticks_are_short(value, told):
    """Labels such as 1e+24 ran into the name of the axis beside them."""
    assert short(value) == told


@pytest.mark.parametrize("others", [True, False])
def test_rows_that_a_finding_names_have_its_colour_whether_there_are_others_or_not(others):
    """Where a finding named every row of a table, all were drawn as faintly as rows that no finding names."""
    rest = (Cloud("the rest", (1.0,), (2.0,), rest=True),) if others else ()
    figure = Scatter(*HEAD, "x", "y", (*rest, Cloud("named", (2.0, 3.0), (1.0, 2.0))))
    assert {name: sign for sign, name in draw(figure, "f").legend}["named"] == "c1"


@pytest.mark.parametrize(("low", "high"), [(174.0, 318.0), (0.011, 0.014), (1.0, 1.5), (1e-9, 1e9)])
def test_a_logarithmic_axis_has_two_ticks_at_least(low, high):
    """An axis from 174 to 318 was labelled at 200 alone, which tells no scale."""
    ticks = scale((low, high), 0, 100, log=True).ticks()
    assert 2 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
