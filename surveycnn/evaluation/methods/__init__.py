"""Morphology and merger methods of the literature, written anew from their descriptions."""
