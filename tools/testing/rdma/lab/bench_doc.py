# SPDX-License-Identifier: GPL-2.0
"""The report of `./lab bench`: tables, plots, raw data and the facts of the run.

It is made of the JSON files that the kinds of benchmark leave (report.save()):

    report.md                   to read
    report.json, report.csv     all rows of all kinds, for programs
    NAME.svg, NAME.png          each plot, by gnuplot
"""

import csv
import json
import subprocess

import bench_report as report
import paths
import ui

MARKS = (7, 5, 9, 11, 13, 3)            # filled points, so that lines over one another show
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
           "#999933", "#882255", "#44aa99", "#661100", "#6699cc")


def load(path):
    """A report.json, or the JSON file of one kind, as {kind: what it holds}."""
    try:
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        kinds = data["kinds"] if "kinds" in data else {data["kind"]: data}
        for part in kinds.values():
            for row in part["rows"]:
                report.Row(**row)
        return kinds
    except OSError as e:
        raise ui.LabError(f"{paths.show(path)}: {e.strerror}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise ui.LabError(f"{paths.show(path)} is no result of ./lab bench: {e!r}") from e


def rows_of(part):
    return [report.Row(**row) for row in part["rows"]]


# -- plots -----------------------------------------------------------------------

def _quote(text):
    return "'" + text.replace("'", "''") + "'"


def _y_axis(plot, values):
    if plot["scale"] == "log":
        return ["set logscale y 10", "set format y '%.0s %c'"]
    if plot["scale"] == "zero":
        return [f"set yrange [0:{1.2 * max(values):.10g}]", "set format y '%.1s %c'"]
    values = [*values, 1.0]
    room = 0.1 * (max(values) - min(values)) or 0.1
    return [f"set yrange [{min(values) - room:.10g}:{max(values) + room:.10g}]"]


def _ticks(plot, places):
    """What is written at the X axis: each place where something was measured."""
    def words(place):
        return ui.size(place).replace(".0 ", " ") if "bytes" in plot["x"] else f"{place:,}"
    return ", ".join(f"{_quote(words(place))} {place}" for place in sorted(places))


def gnuplot_script(plot):
    """What makes gnuplot draw PLOT as SVG and as PNG."""
    series = [(name, points) for name, points in plot["series"].items() if points]
    points = [point for _, points in series for point in points]
    places = {point[0] for point in points}
    lines = ["set key outside right top noenhanced",
             "set grid xtics ytics lt 1 lw 0.5 lc rgb '#cccccc'", "set border 3",
             "set tics nomirror", "set logscale x 2",
             f"set xrange [{min(places) / 1.4}:{max(places) * 1.4}]",
             f"set xtics rotate by -35 ({_ticks(plot, places)})",
             f"set title {_quote(plot['title'])} noenhanced",
             f"set xlabel {_quote(plot['x'])} noenhanced",
             f"set ylabel {_quote(plot['y'])} noenhanced",
             *_y_axis(plot, [value for point in points for value in point[1:]])]
    curves = []
    for number, (name, points) in enumerate(series):
        lines += [f"$data{number} << EOD"]
        lines += [" ".join(f"{value:.10g}" for value in point) for point in points]
        lines += ["EOD"]
        colour = f"lc rgb '{COLOURS[number % len(COLOURS)]}'"
        # The first one broad, to be seen below one that lies on it
        look = "lw 2 ps 0.9" if number else "lw 5 ps 1.6"
        if len(points[0]) > 2:
            curves.append(f"$data{number} using 1:2:3:4 with yerrorbars notitle pt 0 lw 1 {colour}")
        curves.append(f"$data{number} using 1:2 with linespoints {colour} {look} "
                      f"pt {MARKS[number % len(MARKS)]} title {_quote(name)}")
    for kind, terminal in (("svg", "svg size 900,520 font 'sans,13' background rgb 'white'"),
                           ("png", "pngcairo size 900,520 font 'sans,11'")):
        lines += [f"set terminal {terminal}",
                  f"set output {_quote(str(report.FOLDER / plot['name']) + '.' + kind)}",
                  "plot " + ", ".join(curves)]
    return "\n".join(lines) + "\nset output\n"


def is_drawn(plot):
    """Is PLOT of two sizes at least? One size is a row of a table, and no curve."""
    return any(len({point[0] for point in points}) > 1 for points in plot["series"].values())


def draw(plots):
    """All PLOTS that are of more than one size, in files; no old file of the others stays."""
    for plot in plots:
        if not is_drawn(plot):
            for kind in ("svg", "png"):
                (report.FOLDER / f"{plot['name']}.{kind}").unlink(missing_ok=True)
    plots = [plot for plot in plots if is_drawn(plot)]
    log = paths.log("gnuplot.log")
    for plot in plots:
        with open(log, "wb") as out:
            done = subprocess.run(["gnuplot"], input=gnuplot_script(plot).encode(), stdout=out,
                                  stderr=out, check=False)
        if done.returncode:
            raise ui.LabError(f"gnuplot does not draw {plot['name']}", None, log, ui.tail(log))
    return plots


# -- the report ------------------------------------------------------------------

def _table(rows):
    head, cells = report.cells(rows)
    lines = [head, ["---"] + ["---:"] * (len(head) - 3) + ["---", "---"], *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _tables(rows):
    names = list(dict.fromkeys(row.table for row in rows))
    return [(name, [row for row in rows if row.table == name]) for name in names]


def _fact(value):
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_fact(item)}" for name, item in value.items())
    return str(value)


def _goals(kinds):
    """All rows with a goal, in one table."""
    return [row for part in kinds.values() for row in rows_of(part) if row.met is not None]


def text(kinds, titles):
    """report.md; TITLES says what each kind is."""
    goals = _goals(kinds)
    met = sum(row.met for row in goals)
    parts = ["# What phyr costs and gains, against stock",
             f"{met} of {len(goals)} goals met. Ratios are phyr to stock, of one run; a floor is "
             "what cannot be avoided. Figures under emulation are for ratios only."]
    parts += ["## The run", "\n".join(
        f"- {name}: {_fact(value)}" for name, value in next(iter(kinds.values()))["facts"].items()
        if name not in ("pairs", "repeat"))]
    if met < len(goals):
        parts += ["## Goals that are not met", _table([row for row in goals if not row.met])]
    for kind, part in kinds.items():
        parts += [f"## {kind}: {titles.get(kind, '')}"]
        for name, rows in _tables(rows_of(part)):
            parts += [f"### {name}"] if name else []
            parts += [_table(rows)]
        for plot in part.get("plots", ()):
            if is_drawn(plot):
                parts += [f"![{plot['title']}]({plot['name']}.png)",
                          f"([SVG]({plot['name']}.svg))"]
    parts += ["Raw data: report.json and report.csv; " +
              ", ".join(f"{kind}.json" for kind in kinds) + " hold all that was measured."]
    return "\n\n".join(parts) + "\n"


def write(kinds, titles):
    """The report and its files, of what KINDS hold."""
    report.FOLDER.mkdir(parents=True, exist_ok=True)
    draw([plot for part in kinds.values() for plot in part.get("plots", ())])
    with open(report.FOLDER / "report.csv", "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f)
        out.writerow(("kind", *report.Row._fields))
        out.writerows((kind, *row) for kind, part in kinds.items() for row in rows_of(part))
    with open(report.FOLDER / "report.json", "w", encoding="utf-8") as f:
        json.dump({"kinds": kinds}, f, indent=1)
        f.write("\n")
    (report.FOLDER / "report.md").write_text(text(kinds, titles), encoding="utf-8")
    print(f"\nReport: {paths.show(report.FOLDER / 'report.md')}")
