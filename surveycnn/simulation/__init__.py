"""Simulated skies with known truth: labelled stamps to train the models, and whole mosaics to test the pipeline.

GalSim draws, lenstronomy bends the light, and everything is a function of (what, number, seed) alone.
"""
