"""``surveycnn models``: the packages at hand and their cards, and the check of one."""

from __future__ import annotations

import argparse
import json
import sys

from surveycnn.errors import printable
from surveycnn.models.card import Card
from surveycnn.models.package import check_package, find_card, shipped_models
from surveycnn.photoz.package import check_photoz, is_photoz_package


def show(arguments: argparse.Namespace) -> int:
    """Print the shipped models."""
    cards = {name: find_card(name) for name in shipped_models()}
    if arguments.json:
        print(json.dumps({name: card.model_dump(mode="json", exclude_none=True) for name, card in cards.items()}, indent=1))
        return 0
    print("\n\n".join(_card_text(card) for card in cards.values()))
    return 0


def _card_text(card: Card) -> str:
    cost = f", {card.flops / 1e9:.2f} GFLOP a stamp" if card.flops else ""
    lines = [
        f"{card.name} {card.version} ({card.task}): {' '.join(card.bands)} at {card.pixel_scale} arcsec, "
        f"{card.stamp_px} x {card.stamp_px} px, {card.n_weights} weights{cost}, {card.licence}"
    ]
    if card.domain is not None:
        bright, faint = card.domain.magnitude
        lines.append(
            f"  trained on {card.training.n} stamps of {card.training.simulation}, {card.domain.band} {bright:g} to {faint:g}"
        )
    for name, metric in card.metrics.items():
        interval = f" [{metric.interval[0]:.4g}, {metric.interval[1]:.4g}]" if metric.interval else ""
        lines.append(f"  {name} = {metric.value:.4g}{interval} (n = {metric.n}): {metric.definition}")
    if card.notes:
        lines.append(f"  {card.notes}")
    return "\n".join(lines)


def check(arguments: argparse.Namespace) -> int:
    """Check a package and say what is wrong with it; 2 where it is refused."""
    if is_photoz_package(arguments.folder):
        findings = check_photoz(arguments.folder)
    else:
        findings = check_package(shipped_models().get(arguments.folder, arguments.folder))
    for finding in findings:
        print(f"surveycnn: {printable(finding)}", file=sys.stderr)
    if not findings:
        print(f"{arguments.folder}: card, digests and golden outputs agree")
    return 2 if findings else 0
