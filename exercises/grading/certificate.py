"""The certificate: one page, without anything from elsewhere, of what is a learner's own.

The one rule of this file: the page says what was measured, and nothing more.  All text that came
from answers is escaped.
"""

import html
import platform
from datetime import date

import numpy as np

import minidl

WIDE, HIGH = 420, 220
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --soft: #555; --line: #c8c8c8;
  --yours: #00518a; --package: #ffd9b0; --tint: #eef4fa; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #ececec; --soft: #b4b4b4;
  --line: #4a4f55; --yours: #7cc0f5; --package: #5a2600; --tint: #1d262e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
.of { font-size: 1.2rem; margin: 0 0 1rem; }
.soft { color: var(--soft); }
.bar { height: .8rem; border: 1px solid var(--ink); border-radius: .4rem; overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--yours); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1rem; }
figure { margin: 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font: 15px system-ui, sans-serif; }
.axis { stroke: var(--soft); fill: none; }
.yours { stroke: var(--yours); fill: none; stroke-width: 6; }
.package { stroke: var(--package); fill: none; stroke-width: 2; stroke-dasharray: 6 5; }
blockquote { margin: .5rem 0; padding: .7rem 1rem; background: var(--tint);
  border-left: 4px solid var(--yours); overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0;
  border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; }
code { font-size: .88em; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  thead { position: absolute; left: -999rem; }
  tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td, td.n { display: block; border: 0; padding: 0; text-align: left; }
  td:first-child { font-weight: 600; }
}
"""


def page(report, name=""):
    """The certificate of a report, as HTML.  name: whose it is, if it is to say so."""
    mine, every = len(report.mine), len(report.pieces)
    whole = mine == every
    title = "My own engine" if not name else f"{name}'s own engine"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="of">{mine} of {every} pieces of the framework minidl are '
        f"{'answers of one learner' if mine else 'written so far'}"
        f"{', every piece that a task asked for' if whole else ''}.</p>",
        f'<div class="bar" role="img" aria-label="{mine} of {every} pieces">'
        f'<span style="width: {100 * mine / every:.0f}%"></span></div>',
    ]
    curves = [t for t in report.trained.values() if t.pieces and len(t.yours) > 1]
    if curves:
        parts += [
            "<h2>Trained on them</h2>",
            '<p>The thick line is the loss with these pieces in the engine, the thin dashed one '
            "that of the package alone, same seed.</p>",
            '<div class="plots">', *map(_plot, curves), "</div>",
        ]  # fmt: skip
    for t in report.trained.values():
        for label, value in t.told.items() if t.pieces else ():
            if label == "it writes":
                parts += [
                    f"<h2>What the {_text(t.name)} writes</h2>",
                    f"<blockquote>{_text(value)}</blockquote>",
                    f'<p class="soft">After {len(t.yours)} steps. It has met letters and pieces '
                    "of words, and little else.</p>",
                ]
            else:
                parts.append(
                    f"<p>{_text(t.name)}, {_text(label)}: <strong>{_text(value)}</strong></p>"
                )
    parts += ["<h2>The pieces</h2>", _table(report)]
    parts.append(
        f'<p class="soft">Made on {date.today().isoformat()} with minidl {_version()}, NumPy '
        f"{np.__version__}, Python {platform.python_version()}. Each piece passed the checks of "
        "its task, with inputs that are known; where it has a gradient, central differences "
        "inside the engine too. Who wrote an answer is not known to this page.</p>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _text(value):
    return html.escape("".join(c if c.isprintable() else " " for c in str(value)))


def _version():
    return getattr(minidl, "__version__", "of this repository")


def _table(report):
    rows = []
    for p in report.pieces:
        count = report.called(p)
        what = _text(p.sentence().splitlines()[0] if p.sentence() else "")
        if p.checked:
            what += "; gradient checked"
        owner = "yours" if p.state == "yours" else "in part" if p.state == "slow" else "package's"
        calls = f"{count:,} calls" if p.used else ""
        rows.append(
            f"<tr><td>{p.task.id} {_text(p.task.title)}</td><td><code>{_text(p.entry.name)}</code>"
            f'</td><td>{owner}</td><td class="n">{calls}</td><td>{what}</td></tr>'
        )
    return (
        "<table><thead><tr><th>Task</th><th>In the package</th><th>Whose</th>"
        '<th class="n">Called</th><th>What of it</th></tr></thead><tbody>'
        + "".join(rows)
        + "</tbody></table>"
    )


def _plot(t):
    """A network's two losses as a picture."""
    series = [np.array(t.package), np.array(t.yours)]
    series = [s[np.isfinite(s)] for s in series]
    low, high = min(s.min() for s in series), max(s.max() for s in series)
    room = (high - low) or 1.0
    left, right, top, bottom = 52, 14, 34, 42

    def path(values):
        n = max(len(values) - 1, 1)
        points = (
            f"{left + (WIDE - left - right) * i / n:.1f},"
            f"{top + (HIGH - top - bottom) * (high - v) / room:.1f}"
            for i, v in enumerate(values)
        )
        return " ".join(points)

    words = (
        f"{t.name}: the loss goes from {t.yours[0]:.2f} to {t.yours[-1]:.2f} in {len(t.yours)} "
        f"steps on {t.pieces} pieces of the learner's"
    )
    apart = "the package's line lies under it" if not t.note else t.note
    floor = HIGH - bottom
    return (
        f'<figure><svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{_text(words)}; '
        f'{_text(apart)}"><text x="{left}" y="20">{_text(t.name)}, loss; {t.pieces} pieces</text>'
        f'<path class="axis" d="M{left} {top}V{floor}H{WIDE - right}"/>'
        f'<text x="4" y="{top + 6}">{high:.2f}</text><text x="4" y="{floor}">{low:.2f}</text>'
        f'<text x="{left}" y="{HIGH - 14}">1</text>'
        f'<text x="{WIDE - right}" y="{HIGH - 14}" text-anchor="end">step {len(t.yours)}</text>'
        f'<polyline class="yours" points="{path(t.yours)}"/>'
        f'<polyline class="package" points="{path(t.package)}"/></svg></figure>'
    )
