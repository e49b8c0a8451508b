"""Requests and failures of probes as pictures: SVG for pages, a line of blocks for text.

Both are made of numbers alone. The SVG has no script and nothing from outside; what a probe is
called is escaped by whoever puts it beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: characters from nothing to most
_BLOCKS = " ▁▂▃▄▅▆▇█"
#: characters of a line at most
_LINE = 60
#: pixels
_WIDE, _HIGH, _FOOT = 720, 72, 14


def spark(values: Sequence[float], most: int = _LINE) -> str:
    """Return values as a line of blocks; a value that is not zero is always seen.

    :param most: characters at most; neighbours are put together by their maximum

    >>> spark([0, 1, 4, 8])
    ' ▁▄█'
    """
    if not values:
        return ""
    size = math.ceil(len(values) / most)
    parts = [max(values[at : at + size]) for at in range(0, len(values), size)]
    top = max(parts) or 1
    last = len(_BLOCKS) - 1
    return "".join(_BLOCKS[math.ceil(last * value / top) if value > 0 else 0] for value in parts)


def svg(series: Mapping[str, Any], marks: Sequence[tuple[float, str]], begin: str, end: str) -> str:
    """Draw requests per second, and above them in red those that failed.

    :param series: :meth:`saltern.rollout.series.Series.to_json`
    :param marks: seconds since the epoch at which something began, and its name, escaped
    :param begin: the time at the left, escaped
    :param end: the time at the right, escaped
    """
    width = series["width"]
    requests, failed = series["requests"], series["failed"]
    steps = len(requests)
    top = max([*requests, 1])
    step = _WIDE / steps
    box = f'viewBox="0 0 {_WIDE} {_HIGH + _FOOT}" width="{_WIDE}" height="{_HIGH + _FOOT}"'
    told = f"up to {top / width:.3g} requests a second, {sum(failed)} of {sum(requests)} failed"
    parts = [
        f'<svg {box} role="img"><title>{told}</title>',
        f'<rect class="floor" x="0" y="{_HIGH}" width="{_WIDE}" height="1"/>',
    ]
    # what failed is seen, however little of many it was
    for kind, values, least in (("good", requests, 0.5), ("bad", failed, 3.0)):
        bars = [
            f"M{at * step:.1f} {_HIGH}v-{max(_HIGH * value / top, least):.1f}h{step:.1f}V{_HIGH}z"
            for at, value in enumerate(values)
            if value
        ]
        if bars:
            parts.append(f'<path class="{kind}" d="{"".join(bars)}"/>')
    for second, name in marks:
        at = (second - series["begin"]) / width * step
        if 0 <= at <= _WIDE:
            parts.append(
                f'<line class="mark" x1="{at:.1f}" y1="0" x2="{at:.1f}" y2="{_HIGH}">'
                f"<title>{name}</title></line>"
            )
    parts.append(f'<text x="0" y="{_HIGH + _FOOT - 2}">{begin}</text>')
    parts.append(f'<text x="{_WIDE}" y="{_HIGH + _FOOT - 2}" text-anchor="end">{end}</text></svg>')
    return "".join(parts)
