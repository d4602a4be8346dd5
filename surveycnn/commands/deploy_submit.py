"""``surveycnn deploy submit``: a checked configuration, run by a deployment of a Prefect server."""
