"""Figures as SVG: axes with units, steps, lines and maps, in the colours of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from markupsafe import Markup

N_LEVELS = 10
"""Colours of a map, classes h0 to h9."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 44
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Figure:
    """A pair of axes, drawn on in the order of the calls.

    Parameters
    ----------
    alt
        What the figure shows, for those who cannot see it.
    """

    def __init__(
        self,
        alt: str,
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        y_label: str,
        log_y: bool = False,
        width: int = 460,
        height: int = 280,
        right: int = _RIGHT,
        left: int = _LEFT,
    ):
        self.alt, self.x, self.log_y = alt, x, log_y
        self.y = (math.log10(y[0]), math.log10(y[1])) if log_y else y
        self.width, self.height, self.left, self.right = width, height, left, right
        self._parts: list[str] = []
        self._legend: list[tuple[str, str, str]] = []
        self._labels = x_label, y_label

    def px(self, x: float) -> float:
        return self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - self.right)

    def py(self, y: float) -> float:
        if self.log_y:
            y = math.log10(y) if y > 0 else -math.inf
        y = min(max(y, min(self.y)), max(self.y))
        return self.height - _BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - _TOP - _BOTTOM)

    def steps(self, edges: np.ndarray, values: np.ndarray, style: str, *, filled: bool = False, name: str = "") -> None:
        """A histogram."""
        edges, values = self._inside(edges, values)
        if not len(values):
            return
        ys = [self.py(value) for value in values]
        path = "".join(
            f"L{_n(self.px(low))} {_n(y)}H{_n(self.px(high))}" for low, high, y in zip(edges[:-1], edges[1:], ys, strict=True)
        )
        floor = self.height - _BOTTOM
        start, stop = _n(self.px(edges[0])), _n(self.px(edges[-1]))
        self._path(f"M{start} {floor}{path}V{floor}" + ("Z" if filled else ""), f"{style} {'area' if filled else 'line'}")
        self._name(name, style, "area" if filled else "line")
        if filled:
            self._path(f"M{start} {floor}{path}V{floor}M{stop} {floor}", f"{style} line")

    def _inside(self, edges: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bins within the axis."""
        first = int(np.searchsorted(edges, self.x[0] - 1e-9))
        last = int(np.searchsorted(edges, self.x[1] + 1e-9, side="right"))
        return edges[first:last], values[first : max(last - 1, first)]

    def line(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, style: str, name: str = "") -> None:
        """Straight pieces between points; gaps where y is NaN."""
        path, is_down = "", False
        for one, other in zip(x, y, strict=True):
            if not (math.isfinite(one) and math.isfinite(other)) or not self.x[0] <= one <= self.x[1]:
                is_down = False
                continue
            path += f"{'L' if is_down else 'M'}{_n(self.px(one))} {_n(self.py(other))}"
            is_down = True
        self._path(path, f"{style} line")
        self._name(name, style, "line")

    def points(
        self, x: Sequence[float], y: Sequence[float], style: str, errors: Sequence[tuple[float, float]], name: str = ""
    ) -> None:
        """Points with error bars."""
        for one, other, (low, high) in zip(x, y, errors, strict=True):
            self._path(f"M{_n(self.px(one))} {_n(self.py(low))}V{_n(self.py(high))}", f"{style} line")
            self._parts.append(f'<circle class="{style} area solid" cx="{_n(self.px(one))}" cy="{_n(self.py(other))}" r="3.5"/>')
        self._name(name, style, "line")

    def bar(self, low: float, high: float, value: float, style: str) -> None:
        """A bar from 0 to the right, between two values of y."""
        top, bottom = sorted((self.py(low), self.py(high)))
        shape = f'x="{self.left}" y="{_n(top)}" width="{_n(max(self.px(value) - self.left, 0))}" height="{_n(bottom - top)}"'
        self._parts.append(f'<rect class="{style} area" {shape}/>')

    def span(self, low: float, high: float, style: str, name: str = "") -> None:
        """Shade between two values of x."""
        left, right = (self.px(min(max(value, self.x[0]), self.x[1])) for value in (low, high))
        shape = f'x="{_n(left)}" y="{_TOP}" width="{_n(right - left)}" height="{self.height - _TOP - _BOTTOM}"'
        self._parts.append(f'<rect class="{style} span" {shape}/>')
        self._name(name, style, "area")

    def band(self, low: float, high: float, style: str, name: str = "") -> None:
        """Shade between two values of y."""
        top, bottom = self.py(high), self.py(low)
        shape = f'x="{self.left}" y="{_n(top)}" width="{self.width - self.left - self.right}" height="{_n(bottom - top)}"'
        self._parts.append(f'<rect class="{style} span" {shape}/>')
        self._name(name, style, "area")

    def heat(self, x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> None:
        """Map of counts (x, y) between edges, its colours by the logarithm, with their scale at the right."""
        top = max(int(counts.max(initial=0)), 1)
        levels = _levels(np.log1p(counts) / math.log1p(top))
        for level in range(N_LEVELS):
            path = ""
            for i, j in np.argwhere((levels == level) & (counts > 0)):
                if (
                    x[i] < self.x[0] - 1e-9
                    or x[i + 1] > self.x[1] + 1e-9
                    or y[j] < self.y[0] - 1e-9
                    or y[j + 1] > self.y[1] + 1e-9
                ):
                    continue
                left, right, low, high = self.px(x[i]), self.px(x[i + 1]), self.py(y[j]), self.py(y[j + 1])
                path += f"M{_n(left)} {_n(high)}H{_n(right)}V{_n(low)}H{_n(left)}Z"
            self._path(path, f"h{level}")
        self.scale("1", compact(top))

    def polygons(self, x: np.ndarray, y: np.ndarray, values: np.ndarray, low: str, high: str) -> None:
        """Polygons (n, corner), with colours by values from 0 to 1."""
        levels = _levels(values)
        for level in range(N_LEVELS):
            path = ""
            for xs, ys in zip(x[levels == level], y[levels == level], strict=True):
                path += (
                    "M" + "L".join(f"{_n(self.px(one))} {_n(self.py(other))}" for one, other in zip(xs, ys, strict=True)) + "Z"
                )
            self._path(path, f"h{level}")
        self.scale(low, high)

    def scale(self, low: str, high: str) -> None:
        """Scale of the colours at the right."""
        x, n_px = self.width - self.right + 12, (self.height - _TOP - _BOTTOM) / N_LEVELS
        for level in range(N_LEVELS):
            y = self.height - _BOTTOM - (level + 1) * n_px
            self._parts.append(f'<rect class="h{level}" x="{x}" y="{_n(y)}" width="10" height="{_n(n_px + 0.3)}"/>')
        self._text(x + 14, self.height - _BOTTOM, low, "start")
        self._text(x + 14, _TOP + 9, high, "start")

    def vertical(self, x: float, label: str = "", style: str = "mark") -> None:
        """A line at a value of x."""
        if self.x[0] <= x <= self.x[1]:
            self._path(f"M{_n(self.px(x))} {_TOP}V{self.height - _BOTTOM}", f"{style} line dashed")
            self._name(label, style, "line dashed")

    def horizontal(self, y: float, label: str = "", style: str = "mark") -> None:
        """A line at a value of y."""
        self._path(f"M{self.left} {_n(self.py(y))}H{self.width - self.right}", f"{style} line dashed")
        self._name(label, style, "line dashed")

    def svg(
        self, x_ticks: Sequence[tuple[float, str]] | None = None, y_ticks: Sequence[tuple[float, str]] | None = None
    ) -> Markup:
        """The figure, with its legend below it."""
        axes = self._axes(x_ticks or ticks(*self.x), y_ticks or (log_ticks(*self.y) if self.log_y else ticks(*self.y)))
        drawing = (
            f'<svg role="img" aria-label="{escape(self.alt)}" viewBox="0 0 {self.width} {self.height}" class="figure">'
            f"{axes}{''.join(self._parts)}</svg>"
        )
        keys = "".join(
            f'<li><svg aria-hidden="true" viewBox="0 0 22 12" class="key"><path class="{style} {kind}" d="{_KEYS[kind]}"/></svg>'
            f"{escape(name)}</li>"
            for name, style, kind in self._legend
        )
        return Markup(drawing + (f'<ul class="legend">{keys}</ul>' if keys else ""))

    def _axes(self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]) -> str:
        before, self._parts = self._parts, []
        floor, end = self.height - _BOTTOM, self.width - self.right
        for value, text in x_ticks:
            x = self.px(value)
            self._path(f"M{_n(x)} {_TOP}V{floor}", "grid")
            self._text(x, floor + 16, text, "middle")
        for value, text in y_ticks:
            y = self.py(10**value if self.log_y else value)
            self._path(f"M{self.left} {_n(y)}H{end}", "grid")
            self._text(self.left - 6, y + 4, text, "end")
        self._path(f"M{self.left} {_TOP}V{floor}H{end}", "axis")
        self._text((self.left + end) / 2, self.height - 8, self._labels[0], "middle", "label")
        turned = f'transform="rotate(-90 14 {_n((_TOP + floor) / 2)})"'
        self._text(14, (_TOP + floor) / 2, self._labels[1], "middle", "label", turned)
        drawn, self._parts = "".join(self._parts), before
        return drawn

    def _path(self, path: str, style: str) -> None:
        if path:
            self._parts.append(f'<path class="{style.strip()}" d="{path}"/>')

    def _text(self, x: float, y: float, text: str, anchor: str, style: str = "tick", more: str = "") -> None:
        self._parts.append(f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" {more}>{escape(text)}</text>')

    def _name(self, name: str, style: str, kind: str) -> None:
        if name:
            self._legend.append((name, style, kind))


_KEYS = {"line": "M1 6H21", "line dashed": "M1 6H21", "area": "M1 1H21V11H1Z"}


def _levels(values: np.ndarray) -> np.ndarray:
    """Number of the colour of each value from 0 to 1."""
    return np.clip((np.nan_to_num(values) * N_LEVELS).astype(int), 0, N_LEVELS - 1)


def _n(value: float) -> str:
    """A coordinate in as few characters as a screen needs.

    >>> _n(12.0), _n(3.14159)
    ('12', '3.1')
    """
    return f"{value:.1f}".removesuffix(".0")


def compact(value: float) -> str:
    """A number in few characters.

    >>> compact(741), compact(1234567), compact(0.0483), compact(20_000)
    ('741', '1.23e6', '0.0483', '20000')
    """
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def ticks(low: float, high: float, n: int = 6) -> list[tuple[float, str]]:
    """Round values between two limits, with their texts.

    >>> [text for _, text in ticks(0, 1)]
    ['0', '0.2', '0.4', '0.6', '0.8', '1']
    """
    rough = (high - low) / n
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    found = [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (step / power == 2.5))
    return [(value, _plain(value, digits)) for value in found]


def _plain(value: float, digits: int) -> str:
    if abs(value) >= 1e5:
        return compact(value)
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.replace("-", "−")


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten between two limits, which are logarithms."""
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    every = max(1, len(powers) // 7)
    return [(power, {0: "1", 1: "10"}.get(power, "10" + str(power).translate(_SUPERSCRIPTS))) for power in powers[::every]]
