"""Which row of an object of the sky is the primary one where mosaics overlap: by geometry and a match of their rows.

Called by the merge with the rows of all tiles. Two rows are the same object where they coincide, and two of
different mosaics where

- they are within 1 arcsec, or
- they are within twice the half-light radius of one of them, and each is the other's nearest row in its mosaic: the centroid of a
  large galaxy or of a blend scatters further, but a companion that only one mosaic shows is a row of its own, or
- one of them is damaged and the other, which is not, covers it: a piece of a galaxy that an edge or a hole cuts.

Rows are visited from the best to the worst, and one is primary unless a primary one is the same object. So each row that is not
has a primary one beside it, and no two primary rows are the same object: wherever the measured positions scatter to, no object is
lost or doubled along the line where two mosaics are equally good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.flags import has_flag
from surveycnn.errors import SurveyCNNError
from surveycnn.sky.sphere import unit_vectors

COINCIDENT_ARCSEC = 0.1
"""Rows of one mosaic closer than this are the same object: two noisy peaks of it, whose centroids converge on the same place."""
MATCH_ARCSEC = 1.0
"""Rows of different mosaics closer than this are the same object."""
MATCH_HALF_LIGHT_RADII = 2.0
"""Rows closer than this many half-light radii of one of them are the same object if none is nearer."""
COVERED_HALF_LIGHT_RADII = 3.0
"""Pieces of a galaxy are looked for within this many of its half-light radii: 3.5 sigma of a Gaussian."""
MAX_REACH_ARCSEC = 60.0
"""As the largest aperture."""
NEIGHBOURHOOD_ARCSEC = 2 * MAX_REACH_ARCSEC
"""Rows further from a row than this have no part in what is the same object as it: neighbours, and the neighbours of those."""

_QUERY_ROWS = 1 << 18


def primary_rows(
    columns: dict[str, np.ndarray], footprints: Sequence[Footprint], same_object: np.ndarray | None = None
) -> np.ndarray:
    """True for one row of each object of the sky, whatever the order of the rows.

    Of the rows of an object the best is primary: one with all its pixels before one that lacks some, then the one that lies
    deepest in its own mosaic, then by mosaic and source_id.

    Parameters
    ----------
    columns
        source_id, ra and dec (degrees), mosaic, x and y (pixels), flags and flux_radius (arcsec, NaN = unknown), each (n,).
    footprints
        The mosaics that the rows come from.
    same_object
        (n,) integers, equal for rows of the same object, for instance of the same row of a user's catalog: positions are not
        looked at then.

    Raises
    ------
    SurveyCNNError
        Where rows come from a mosaic that is not among the footprints.
    """
    names, mosaics = _mosaic_numbers(columns["mosaic"])
    return _chosen(columns, names, mosaics, footprints, _same_object(columns, mosaics, same_object))


def primary_rows_of_part(
    columns: dict[str, np.ndarray],
    footprints: Sequence[Footprint],
    wanted: np.ndarray,
    settled: np.ndarray,
    same_object: np.ndarray | None = None,
) -> np.ndarray | None:
    """What :func:`primary_rows` gives for the rows of the whole sky, from those of a part of it and its surroundings.

    Which row is primary depends on the rows that are the same object, on what is the same object as those, and so on: a chain
    that is short in practice, and whose end is known where all its rows have their neighbours among the rows given.

    Parameters
    ----------
    columns, footprints, same_object
        As there, of the rows at hand.
    wanted
        (n,) True for the rows that an answer is needed for.
    settled
        (n,) True for the rows around which, within :data:`NEIGHBOURHOOD_ARCSEC`, all rows of the sky are at hand.

    Returns
    -------
    (n,) boolean array, right for the rows wanted; None where a chain leaves the settled rows: come again with more of the sky.
    """
    names, mosaics = _mosaic_numbers(columns["mosaic"])
    pairs = _same_object(columns, mosaics, same_object)
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(mosaics), len(mosaics)))
    n_chains, chain = connected_components(links, directed=False)
    is_open = np.zeros(n_chains, dtype=bool)
    is_open[chain[~settled]] = True
    if is_open[chain[wanted]].any():
        return None
    return _chosen(columns, names, mosaics, footprints, pairs)


def _same_object(columns: dict[str, np.ndarray], mosaics: np.ndarray, same_object: np.ndarray | None) -> np.ndarray:
    """Pairs (pair, 2) of rows that are the same object."""
    return _same_position(columns, mosaics) if same_object is None else _same_label(np.asarray(same_object))


def _chosen(
    columns: dict[str, np.ndarray], names: list[str], mosaics: np.ndarray, footprints: Sequence[Footprint], pairs: np.ndarray
) -> np.ndarray:
    """(n,) True for the best row of each object."""
    known = {footprint.mosaic: footprint for footprint in footprints}
    for name in names:
        if name not in known:
            raise SurveyCNNError(f"rows come from mosaic {name!r}, which is not among the footprints {sorted(known)}")
    primary = np.ones(len(mosaics), dtype=bool)
    rows, pairs = np.unique(pairs, return_inverse=True)
    some = {name: columns[name][rows] for name in ("source_id", "y", "x", "flags")}
    depth = _depths(mosaics[rows], some["y"], some["x"], [known[name] for name in names])
    order = np.lexsort((some["source_id"], mosaics[rows], -depth, _lacks_pixels(some["flags"])))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows))
    primary[rows] = _best_first(np.sort(rank[pairs.reshape(-1, 2)], axis=1), len(rows))[rank]
    return primary


def _mosaic_numbers(mosaic: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the mosaics, sorted, and the number (n,) of each row's."""
    encoded = pa.array(mosaic, pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    return [names[number] for number in order], np.argsort(order)[encoded.indices.to_numpy()]


def _lacks_pixels(flags: np.ndarray) -> np.ndarray:
    return has_flag(flags, "edge") | has_flag(flags, "masked") | has_flag(flags, "missing_band")


def _depths(mosaics: np.ndarray, y: np.ndarray, x: np.ndarray, footprints: Sequence[Footprint]) -> np.ndarray:
    """Distance of each row from the border of its own mosaic, arcsec."""
    depths = np.zeros(len(mosaics))
    order = np.argsort(mosaics, kind="stable")
    bounds = np.searchsorted(mosaics[order], np.arange(len(footprints) + 1))
    for footprint, start, stop in zip(footprints, bounds[:-1], bounds[1:], strict=True):
        rows = order[start:stop]
        if rows.size:
            depths[rows] = footprint.depth_arcsec(y[rows], x[rows])
    return depths


def _best_first(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    """(row,) True where no better row that is itself True is the same object.

    Parameters
    ----------
    pairs
        (pair, 2) ranks of rows that are the same object, the better one first.
    """
    chosen = np.ones(n_rows, dtype=bool)
    better, worse = pairs.T
    while len(better):
        is_open = np.zeros(n_rows, dtype=bool)
        is_open[worse] = True
        chosen[worse[~is_open[better]]] = False
        left = chosen[better] & chosen[worse]
        better, worse = better[left], worse[left]
    return chosen


def _same_label(labels: np.ndarray) -> np.ndarray:
    """Pairs (pair, 2) of all rows with the same label."""
    order = np.argsort(labels, kind="stable")
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for step in range(1, len(labels)):
        first = np.flatnonzero(labels[order[step:]] == labels[order[:-step]])
        if first.size == 0:
            break
        pairs.append(np.stack([order[first], order[first + step]], axis=1))
    return np.concatenate(pairs)


def _same_position(columns: dict[str, np.ndarray], mosaics: np.ndarray) -> np.ndarray:
    """Pairs (pair, 2) of rows that are the same object by their positions."""
    usable = np.flatnonzero(np.isfinite(columns["ra"]) & np.isfinite(columns["dec"]))
    sky = _Sky(unit_vectors(columns["ra"][usable], columns["dec"][usable]), mosaics[usable])
    pairs = [sky.tree.query_pairs(_chord(COINCIDENT_ARCSEC), output_type="ndarray")]
    if len(np.unique(mosaics)) < 2:
        return usable[pairs[0]]
    size = np.nan_to_num(columns["flux_radius"][usable].astype(float), nan=0.0, posinf=0.0, neginf=0.0)
    flags = columns["flags"][usable]
    is_edge, is_masked = has_flag(flags, "edge"), has_flag(flags, "masked")
    is_whole = ~(is_edge | is_masked)
    reach = np.clip(COVERED_HALF_LIGHT_RADII * size, MATCH_ARCSEC, MAX_REACH_ARCSEC)
    doubtful = [_Pairs.none()]
    for found in sky.neighbours(np.arange(len(usable)), reach):
        same = found.distance <= MATCH_ARCSEC
        same |= is_whole[found.row] & is_edge[found.other]
        same |= is_whole[found.row] & is_masked[found.other] & ~sky.is_seen_beside(found, same)
        pairs.append(np.stack([found.row[same], found.other[same]], axis=1))
        near = ~same & (found.distance <= MATCH_HALF_LIGHT_RADII * size[found.row])
        doubtful.append(found.take(near & sky.is_nearest(found)))
    return usable[np.concatenate([*pairs, sky.nearest_both_ways(_Pairs.joined(doubtful))])]


# -- neighbours on the sky -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Rows and their neighbours in other mosaics; arrays of shape (pair,)."""

    row: np.ndarray
    other: np.ndarray
    distance: np.ndarray
    """arcsec."""

    @classmethod
    def none(cls) -> _Pairs:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))

    @classmethod
    def joined(cls, parts: Sequence[_Pairs]) -> _Pairs:
        fields = zip(*((part.row, part.other, part.distance) for part in parts), strict=True)
        return cls(*(np.concatenate(field) for field in fields))

    def take(self, chosen: np.ndarray) -> _Pairs:
        return _Pairs(self.row[chosen], self.other[chosen], self.distance[chosen])


def _chord(arcsec: float) -> float:
    return 2 * float(np.sin(np.radians(arcsec / 3600) / 2))


class _Sky:
    """Positions of rows, to be searched for neighbours."""

    def __init__(self, vectors: np.ndarray, mosaics: np.ndarray):
        self.vectors = vectors
        self.mosaics = mosaics
        self.tree = cKDTree(vectors)

    def neighbours(self, rows: np.ndarray, radius_arcsec: np.ndarray) -> Iterator[_Pairs]:
        """Neighbours of `rows` in other mosaics, each within its own radius; all of a row's come together."""
        octave = np.ceil(np.log2(radius_arcsec)).astype(np.int64)  # so that a few large galaxies do not widen every search
        for power in np.unique(octave):
            members = np.flatnonzero(octave == power)
            for start in range(0, len(members), _QUERY_ROWS):
                some = members[start : start + _QUERY_ROWS]
                tree, reach = cKDTree(self.vectors[rows[some]]), _chord(radius_arcsec[some].max()) * (1 + 1e-9)
                found = tree.sparse_distance_matrix(self.tree, reach, output_type="ndarray")
                found = found[self.mosaics[rows[some[found["i"]]]] != self.mosaics[found["j"]]]
                distance = np.degrees(2 * np.arcsin(found["v"] / 2)) * 3600
                near = distance <= radius_arcsec[some[found["i"]]]
                yield _Pairs(rows[some[found["i"][near]]], found["j"][near], distance[near])

    def is_seen_beside(self, pairs: _Pairs, coincides: np.ndarray) -> np.ndarray:
        """(pair,) True where the other mosaic has the row itself too: what lies beside it there is another object."""
        key = pairs.row * (self.mosaics.max() + 1) + self.mosaics[pairs.other]
        return np.isin(key, key[coincides])

    def is_nearest(self, pairs: _Pairs) -> np.ndarray:
        """(pair,) True where no other row of the neighbour's mosaic is nearer; `pairs` has all of a row's neighbours."""
        group = pairs.row * (self.mosaics.max(initial=0) + 1) + self.mosaics[pairs.other]
        order = np.lexsort((pairs.distance, group))
        first = np.flatnonzero(np.diff(group[order], prepend=-1))
        least = np.empty(len(group))
        least[order] = np.repeat(pairs.distance[order[first]], np.diff(first, append=len(group)))
        return pairs.distance <= least

    def nearest_both_ways(self, pairs: _Pairs) -> np.ndarray:
        """(pair, 2) rows of those `pairs` in which the row, too, is the nearest one of its mosaic to its neighbour."""
        rows, number = np.unique(pairs.other, return_inverse=True)
        radius = np.zeros(len(rows))
        np.maximum.at(radius, number, pairs.distance)
        key = pairs.other * len(self.mosaics) + pairs.row
        is_mutual = np.zeros(len(key), dtype=bool)
        for found in self.neighbours(rows, radius):
            nearest = found.take(self.is_nearest(found))
            is_mutual |= np.isin(key, nearest.row * len(self.mosaics) + nearest.other)
        return np.stack([pairs.row[is_mutual], pairs.other[is_mutual]], axis=1)
