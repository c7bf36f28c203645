"""The lag of a replica over the time it was looked at, as SVG in the page."""

from __future__ import annotations

from markupsafe import Markup

from drtests.model.record import DrillRecord
from drtests.model.units import format_duration

_HEIGHT = 90
_TOP = 24
_WIDEST = 4.0
"""Percent of the width that a look takes at most."""


def lag_chart(drill: DrillRecord) -> Markup | None:
    """A bar for each look, from what was missing at least; a look that got no answer is hatched over the whole height.

    None when there was no look, or all that is to be said is one number.
    """
    seen = drill.replication
    if seen is None or len(seen.samples) < 2:
        return None
    last = max(sample.at for sample in seen.samples) or 1.0
    limit = drill.rpo.seconds if drill.rpo else None
    worst = max((sample.seconds or 0.0 for sample in seen.samples), default=0.0)
    # An RPO far above all lag would press every bar flat: it is told, not drawn, then.
    drawn = limit is not None and limit <= 4 * worst
    top = max(worst, limit or 0.0 if drawn else 0.0, seen.interval_seconds) * 1.05
    width = min(_WIDEST, 100 / len(seen.samples) * 0.8)
    parts = [Markup('<rect class="track" x="0" y="{}" width="100%" height="{}"/>').format(_TOP, _HEIGHT)]
    for sample in seen.samples:
        seconds = sample.seconds or 0.0
        height = _HEIGHT if not sample.answered else max(1.0, _HEIGHT * seconds / top)
        kind = "broken" if not sample.answered else "measured" if str(seen.basis) == "measured" else "estimated"
        parts.append(
            Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"/>').format(
                kind,
                f"{(100 - width) * sample.at / last:.2f}",
                f"{_TOP + _HEIGHT - height:.1f}",
                f"{width:.2f}",
                f"{height:.1f}",
            )
        )
    if limit is not None and drawn:
        at = f"{_TOP + _HEIGHT - _HEIGHT * limit / top:.1f}"
        parts.append(Markup('<line class="limit" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(at))
    told = f"worst {format_duration(worst)}" if worst else "no look found anything missing"
    span = f"{len(seen.samples)} looks in {format_duration(last)}: {told}"
    rpo = f"RPO {format_duration(limit)}" if limit is not None else "no RPO"
    parts.append(
        Markup('<text x="0" y="15"><tspan class="name">Lag</tspan> <tspan class="told">{}</tspan></text>').format(span)
    )
    parts.append(Markup('<text class="limit-text" x="100%" y="15" text-anchor="end">{}</text>').format(rpo))
    return Markup(
        '<svg class="chart" role="img" width="100%" height="{}" aria-label="Lag over time"><title>Lag over time</title>'
        "<desc>{}; {}</desc>{}</svg>"
    ).format(_TOP + _HEIGHT + 4, span, rpo, Markup("").join(parts))
