"""The files of a profile: a trace for ui.perfetto.dev, a page for a browser, a picture."""

import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dfx_rtl.control.activity import Account
from dfx_rtl.isa import Unit

from .profile import activity_spans

__all__ = ["ProfileFiles", "chrome_trace", "page", "picture", "window"]

#: Spans of the MPU's activity in a file, and pieces of a counter.
ACTIVITIES, BUCKETS = 20_000, 2_000
# In the order of Account: busy; the four writers of an operand; weights, accumulators; the rest.
_CAUSE_COLORS = ("#4f9d69", "#b8860b", "#e3a73b", "#f0cd7d", "#d98a4e", "#c9503f", "#8561ad",
                 "#7d8a99", "#aab4c0")
_UNIT_COLORS = ("#7fa8d6", "#e0a07c", "#8ec4b4", "#cdbb74", "#b79bd0")
_TEMPLATE = Path(__file__).with_suffix(".html")

# The picture, in pixels.
_WIDTH, _LEFT, _RIGHT, _ROW = 1240, 96, 16, 17
_TOP = 66  # of the lines of the axis


@dataclass(frozen=True)
class ProfileFiles:
    """Where a profile goes: ``NAME.json``, ``NAME.html`` and ``NAME.svg``.

    Parameters
    ----------
    name : str or pathlib.Path
        With one of the suffixes or without.

    Raises
    ------
    ValueError
        If there is no such directory.
    """

    name: str | Path

    def __post_init__(self):
        path = Path(self.name)
        if not path.resolve().parent.is_dir():
            raise ValueError(f"profile {path} cannot be written: no such directory")
        if path.suffix in (".json", ".html", ".svg"):
            path = path.with_suffix("")
        object.__setattr__(self, "name", path)

    def write(self, timeline, summary, first=0, last=None):
        """Write all three; ``summary`` is that of ``sim.generate``. Returns their paths.

        The picture shows the cycles from ``first`` to before ``last``, counted from the start of
        the simulation as those of waves are.
        """
        view = _view(timeline, summary)
        first = max(0, first - timeline.start)
        last = timeline.cycles if last is None else min(last - timeline.start, timeline.cycles)
        if not first < last:
            first, last = 0, timeline.cycles
        shown = view if last - first == timeline.cycles else window(view, first, last)
        paths = []
        for suffix, content in (("json", chrome_trace(view)), ("html", page(timeline, view)),
                                ("svg", picture(shown))):
            paths.append(self.name.parent / f"{self.name.name}.{suffix}")
            paths[-1].write_text(content, encoding="utf-8")
        return paths


def _view(timeline, summary):
    """What all three show, as plain data."""
    causes = timeline.causes
    program = timeline.compiled.instructions
    kinds = [timeline.kind(number) if entry.unit is not None else entry.opcode.name.lower()
             for number, entry in enumerate(program)]
    units = []
    for unit in Unit:
        spans = [[span.row, span.start, span.end, span.number, span.layer, span.position]
                 for span in timeline.spans if span.unit == unit]
        units.append({"name": unit.name, "color": _UNIT_COLORS[unit],
                      "rows": 1 + max((span[0] for span in spans), default=0), "spans": spans})
    counters = []
    for name, unit, values in (
            ("HBM tiles", "tiles", timeline.tiles),
            ("DDR beats", "beats", timeline.ddr_reads + timeline.ddr_writes),
            ("K, V to HBM", "parts", timeline.stores)):
        size, sums = timeline.buckets(values, BUCKETS)
        counters.append({"name": name, "unit": unit, "size": size, "values": sums,
                         "total": int(values.sum())})
    count = len(summary["tokens"])
    return {
        "title": f"{count} token{'s' * (count != 1)} on {summary['config']}",
        "note": f"{timeline.cycles:,} cycles in simulation, "
                f"{summary['cycles_per_token']:,.0f} a token, busy {summary['busy']:.1%}",
        "cycles": timeline.cycles,
        "causes": [{"name": account.name, "doc": account.doc, "color": color, "cycles": cycles}
                   for account, color, cycles in zip(Account, _CAUSE_COLORS, causes,
                                                      strict=True)],
        "names": timeline.names,
        "labels": [_labels(entry, kind, name) for entry, kind, name in
                   zip(program, kinds, timeline.names, strict=True)],
        "strips": [
            {"name": "position", "spans": [
                [start, end, f"position {position}"] for position, start, end in
                timeline.groups(lambda segment: segment.position)]},
            {"name": "layer", "spans": [
                [start, end, timeline.layer_name(layer)] for (_, layer), start, end in
                timeline.groups(lambda segment: (segment.position, segment.layer))]},
        ],
        "activity": [[start, end, *cycles]
                     for start, end, cycles in activity_spans(timeline.activity, ACTIVITIES)],
        "units": units,
        "counters": counters,
        "tokens": [[cycle, f"token {token}"] for token, cycle in timeline.tokens],
    }


def _labels(entry, kind, name):
    """What a span is called where there is little room, the longest first."""
    if entry.unit != Unit.MPU:
        return [kind]
    result = re.match(r"\w+ (\w+)", name)
    return [kind, kind.split(" ", 1)[1], result[1]]


def chrome_trace(view):
    """Chrome's trace-event format. A microsecond is a cycle."""
    events, tracks = [], []

    def track(name):
        tracks.append(name)
        number = len(tracks)
        common = {"ph": "M", "pid": 1, "tid": number}
        events.append({**common, "name": "thread_name", "args": {"name": name}})
        events.append({**common, "name": "thread_sort_index", "args": {"sort_index": number}})
        return number

    def span(track, name, start, end, **arguments):
        events.append({"ph": "X", "pid": 1, "tid": track, "ts": start, "dur": end - start,
                       "name": name, "args": arguments})

    events.append({"ph": "M", "pid": 1, "name": "process_name",
                   "args": {"name": f"{view['title']}: 1 us is 1 cycle"}})
    program = track("program, as the MPU does it")
    for strip in view["strips"]:
        for start, end, name in strip["spans"]:
            span(program, name, start, end)
    for cycle, name in view["tokens"]:
        events.append({"ph": "i", "pid": 1, "tid": program, "ts": cycle, "s": "p", "name": name})
    activity = track("MPU activity")
    for start, end, *cycles in view["activity"]:
        causes = {cause["name"]: count for cause, count in zip(view["causes"], cycles, strict=True)
                  if count}
        span(activity, max(causes, key=causes.get), start, end, **causes)
    for unit in view["units"]:
        rows = [track(unit["name"] + (f" ({row + 1})" if row else ""))
                for row in range(unit["rows"])]
        for row, start, end, number, layer, position in unit["spans"]:
            span(rows[row], view["names"][number], start, end, instruction=number, layer=layer,
                 position=position)
    for counter in view["counters"]:
        name = f"{counter['name']}: {counter['unit']} in {counter['size']} cycles"
        before = None
        for index, value in enumerate(counter["values"]):
            if value != before:
                events.append({"ph": "C", "pid": 1, "ts": index * counter["size"], "name": name,
                               "args": {counter["unit"]: value}})
            before = value
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    return f'{{"displayTimeUnit":"ns","traceEvents":[\n{lines}\n]}}\n'


def page(timeline, view):
    """One page for a browser, which needs nothing else: the timeline to zoom into, and tables."""
    data = json.dumps(view, separators=(",", ":")).replace("</", "<\\/")
    tables = [
        _mpu_table("The MPU by layer", timeline,
                   lambda segment: timeline.layer_name(segment.layer)),
        _mpu_table("The MPU by instruction", timeline,
                   lambda segment: timeline.kind(segment.number)),
        _mpu_table("The MPU by position", timeline,
                   lambda segment: f"position {segment.position}"),
        _unit_table(timeline),
    ]
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, content in (("TITLE", escape(view["title"])), ("NOTE", escape(view["note"])),
                          ("TABLES", "\n".join(tables)), ("DATA", data)):
        text = text.replace(f"@{name}@", content)
    return text


def _table(title, note, heads, rows):
    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join([f"<h2>{title}</h2>", f"<p>{note}</p>", "<table>",
                      line("th", heads), *(line("td", row) for row in rows), "</table>"])


def _mpu_table(title, timeline, key):
    def row(name, count, cycles):
        total = sum(cycles)
        bar = "".join(f'<i style="width:{100 * part / max(total, 1):.2f}%;background:{color}"></i>'
                      for part, color in zip(cycles, _CAUSE_COLORS, strict=True))
        return [escape(name), f"{count:,}" if count else "", f"{total:,}",
                f"{total / timeline.cycles:.1%}", *(f"{part:,}" for part in cycles),
                f"{cycles[Account.BUSY] / max(total, 1):.1%}", f'<div class="bar">{bar}</div>']

    rows = [row(total.name, total.count, total.cycles) for total in timeline.totals(key)]
    count = sum(segment.number is not None for segment in timeline.segments)
    rows.append([f"<b>{cell}</b>" for cell in row("all", count, timeline.causes)])
    causes = [f"{account.name.lower()}{' (tiles)' * (account == Account.BUSY)}"
              for account in Account]
    return _table(title, "Cycles of the MPU. A wait counts to the instruction that is waited "
                  "with: the one whose tile comes next.",
                  ["", "instructions", "cycles", "share", *causes, "busy", ""], rows)


def _unit_table(timeline):
    rows = [[unit, kind, f"{count:,}", f"{cycles:,}", f"{cycles / count:,.1f}"]
            for unit, kind, count, cycles in timeline.units()]
    return _table("The units by instruction", "From the cycle in which a unit takes an instruction "
                  "to its end: waits are in it, and instructions of a unit may overlap.",
                  ["unit", "", "instructions", "cycles, summed", "each"], rows)


def window(view, first, last):
    """A part of a view, from cycle ``first`` to before ``last`` of the run."""
    def clipped(spans, at=0):
        for span in spans:
            start, end = max(span[at], first), min(span[at + 1], last)
            if start < end:
                yield [*span[:at], start - first, end - first, *span[at + 2:]], span

    def share(part, span):
        return (part[1] - part[0]) / (span[1] - span[0])

    counters = []
    for counter in view["counters"]:
        size = counter["size"]
        values = counter["values"][first // size:-(-last // size)]
        counters.append({**counter, "values": values, "total": sum(values)})
    activity = [[*part[:2], *(cycles * share(part, span) for cycles in part[2:])]
                for part, span in clipped(view["activity"])]
    return {
        **view,
        "causes": [{**cause, "cycles": sum(span[2 + index] for span in activity)}
                   for index, cause in enumerate(view["causes"])],
        "note": f"{view['note']}; here cycles {first:,} to {last:,}",
        "cycles": last - first,
        "strips": [{**strip, "spans": [part for part, _ in clipped(strip["spans"])]}
                   for strip in view["strips"]],
        "activity": activity,
        "units": [{**unit, "spans": [part for part, _ in clipped(unit["spans"], 1)]}
                  for unit in view["units"]],
        "counters": counters,
        "tokens": [[cycle - first, label] for cycle, label in view["tokens"]
                   if first <= cycle < last],
    }


def picture(view):
    """The timeline as SVG."""
    scale = (_WIDTH - _LEFT - _RIGHT) / view["cycles"]
    parts, y = [], _TOP + 8

    def x(cycle):
        return _LEFT + cycle * scale

    def rectangle(start, end, top, height, color, title, labels):
        """Nothing narrower than a quarter of a pixel; the first label that fits."""
        width = (end - start) * scale
        drawn = max(width - (0.7 if width > 3 else 0), 0.25)
        parts.append(f'<rect x="{x(start):.2f}" y="{top:.1f}" width="{drawn:.2f}" '
                     f'height="{height:.1f}" fill="{color}"><title>{escape(title)}</title></rect>')
        for label in labels:
            size = 11 if width > 6.5 * len(label) else 9
            if width > 0.6 * size * len(label) - 2:
                parts.append(f'<text x="{x(start) + width / 2:.1f}" y="{top + height / 2 + 4:.1f}" '
                             f'text-anchor="middle" font-size="{size}">{escape(label)}</text>')
                break

    def name(text, top, height):
        parts.append(f'<text x="{_LEFT - 8}" y="{top + height / 2 + 4:.1f}" text-anchor="end" '
                     f'class="name">{escape(text)}</text>')

    for strip in view["strips"]:
        name(strip["name"], y, 18)
        for index, (start, end, label) in enumerate(strip["spans"]):
            rectangle(start, end, y, 18, ("#dfe7f0", "#eef2f7")[index % 2], label,
                      [label, label.split()[-1]])
        y += 20
    y += 8
    name("MPU cycles", y, 56)
    _stack(parts, view, x, y, 56)
    y += 66
    for unit in view["units"]:
        if not unit["spans"]:
            continue
        name(unit["name"], y, unit["rows"] * _ROW)
        drawn = [-1] * unit["rows"]
        for row, start, end, number, _, _ in unit["spans"]:
            # Of spans that end within a quarter of a pixel one is enough.
            if (end - drawn[row]) * scale < 0.25:
                continue
            drawn[row] = end
            rectangle(start, end, y + row * _ROW, _ROW - 2, unit["color"],
                      f"{view['names'][number]}: cycles {start} to {end}", view["labels"][number])
        y += unit["rows"] * _ROW + 8
    for counter in view["counters"]:
        if not counter["total"]:
            continue
        y += 10
        name(counter["name"], y, 30)
        _histogram(parts, counter, view["cycles"], x, y, 30)
        y += 36
    for cycle, label in view["tokens"]:
        parts.append(f'<path d="M{x(cycle):.1f} {_TOP}V{y}" stroke="#1d2f44" '
                     f'stroke-dasharray="2 3"/>')
        if len(view["tokens"]) <= 8:
            parts.append(f'<text x="{x(cycle) - 4:.1f}" y="{y + 12}" text-anchor="end">'
                         f'{escape(label)} is known</text>')
    _axis(parts, view["cycles"], x, y)
    return _svg(view, parts, y + 24)


def _stack(parts, view, x, top, height):
    """The MPU's activity, a bar for each pixel, stacked by cause."""
    pixels = _WIDTH - _LEFT - _RIGHT
    per_pixel = view["cycles"] / pixels
    columns = [[0.0] * len(Account) for _ in range(pixels)]
    for start, end, *cycles in view["activity"]:
        for pixel in range(int(start / per_pixel), min(int(end / per_pixel) + 1, pixels)):
            part = min(end, (pixel + 1) * per_pixel) - max(start, pixel * per_pixel)
            if part > 0:
                for cause, count in enumerate(cycles):
                    columns[pixel][cause] += count * part / (end - start)
    for index, cause in enumerate(view["causes"]):
        # A polygon between what lies below and what lies above, in steps.
        below = [sum(column[:index]) / per_pixel for column in columns]
        above = [sum(column[:index + 1]) / per_pixel for column in columns]
        if above == below:
            continue
        path = []
        for pixel in range(pixels):
            if above[pixel] > below[pixel]:
                low, high = (top + height * (1 - value) for value in (below[pixel], above[pixel]))
                path.append(f"M{x(0) + pixel:.0f} {low:.1f}V{high:.1f}h1V{low:.1f}z")
        parts.append(f'<path d="{"".join(path)}" fill="{cause["color"]}" '
                     f'shape-rendering="crispEdges"><title>{cause["name"]}: '
                     f'{escape(cause["doc"])}</title></path>')


def _histogram(parts, counter, cycles, x, top, height):
    pieces = min(len(counter["values"]), 600)
    group = -(-len(counter["values"]) // pieces)
    size = group * counter["size"]
    sums = [sum(counter["values"][start:start + group])
            for start in range(0, len(counter["values"]), group)]
    peak = max(sums)
    path = [f"M{x(0):.1f} {top + height}"]
    for index, value in enumerate(sums):
        path.append(f"V{top + height * (1 - value / peak):.1f}"
                    f"H{x(min((index + 1) * size, cycles)):.1f}")
    parts.append(f'<path d="{"".join(path)}V{top + height}z" fill="#6f86a0"/>')
    parts.append(f'<text x="{x(cycles)}" y="{top - 1}" text-anchor="end" class="note">'
                 f'{counter["total"]:,} {counter["unit"]}; top: {peak} in {size} '
                 f'cycle{"s" * (size != 1)}</text>')


def _axis(parts, cycles, x, bottom):
    step = 1
    while cycles / step > 14:
        step = int(f"{step}"[0] in "15") and step * 2 or step * 5 // 2
    for cycle in range(0, cycles + 1, step):
        parts.insert(0, f'<path d="M{x(cycle):.1f} {_TOP}V{bottom}" stroke="#e6eaef"/>')
        parts.append(f'<text x="{x(cycle):.1f}" y="{_TOP - 4}" text-anchor="middle" class="note">'
                     f'{cycle:,}</text>')


def _svg(view, parts, height):
    legend = []
    causes = [cause for cause in view["causes"] if cause["cycles"]]
    for index, cause in enumerate(causes):
        left, top = _LEFT + index % 5 * 228, 24 + index // 5 * 15
        text = f"{cause['name'].lower()} {cause['cycles'] / view['cycles']:.2%}"
        legend.append(f'<rect x="{left}" y="{top}" width="11" height="11" '
                      f'fill="{cause["color"]}"/>'
                      f'<text x="{left + 16}" y="{top + 10}">{escape(text)}'
                      f'<title>{escape(cause["doc"])}</title></text>')
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="11">',
        "<style>.name { font-weight: bold; fill: #1d2f44 } .note { fill: #5b6f86 }</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="15" font-size="13" class="name">{escape(view["title"])}: '
        f'{escape(view["note"])}</text>',
        *legend, *parts, "</svg>", ""])
