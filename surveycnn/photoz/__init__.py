"""Redshifts from tables of photometry: a mixture-density network that anybody can fit to a table and apply to another."""
