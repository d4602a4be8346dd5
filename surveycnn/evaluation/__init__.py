"""Models and methods of the literature measured side by side, on simulated stamps that none of them has seen."""
