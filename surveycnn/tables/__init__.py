"""Tables of users: files of five formats to and from Arrow, columns to and from arrays.

Below everything that reads a user's table: photometry with redshifts, lists of mosaics, catalogs of sources.
"""
