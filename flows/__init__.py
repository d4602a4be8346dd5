"""Prefect flows: glue that calls the functions of :mod:`surveycnn.run` in tasks; no astronomy here."""
