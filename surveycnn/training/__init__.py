"""Fitting the networks to simulations, and measuring how well they do."""
