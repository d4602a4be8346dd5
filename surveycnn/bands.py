"""Passband names that surveys use, and the part of the spectrum that each lies in.

A band outside this table is accepted only where a model or the detection asks for it: a misspelled band would otherwise
be measured in silence and seen by no model.
"""

from __future__ import annotations

_SPECTRUM = {
    "em.opt.U": ("u", "U"),
    "em.opt.B": ("g", "B"),
    "em.opt.V": ("V", "VIS"),
    "em.opt.R": ("r", "R"),
    "em.opt.I": ("i", "I", "z", "Z"),
    "em.IR.J": ("y", "Y", "J"),
    "em.IR.H": ("H",),
    "em.IR.K": ("K", "Ks"),
    "em.UV": ("FUV", "NUV"),
    "em.IR.3-4um": ("W1",),
    "em.IR.4-8um": ("W2",),
}

KNOWN_BANDS: dict[str, str] = {band: ucd for ucd, bands in _SPECTRUM.items() for band in bands}
"""UCD1+ word of each known passband, after the IVOA list of electromagnetic words."""


EXTINCTION = {"u": 4.145, "g": 3.237, "r": 2.273, "i": 1.684, "z": 1.323, "y": 1.088}
"""A / E(B-V) of the dust of the Milky Way in the LSST bands, R_V = 3.1 (Schlafly & Finkbeiner 2011, ApJ 737, 103, table 6)."""


def spectrum_ucd(band: str) -> str:
    """UCD1+ word of the part of the spectrum where `band` lies; the optical for a band that is not known.

    >>> spectrum_ucd("Ks"), spectrum_ucd("F115W")
    ('em.IR.K', 'em.opt')
    """
    return KNOWN_BANDS.get(band, "em.opt")
