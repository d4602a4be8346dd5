"""The sky as pixels: tiling in integers, FITS images, the mosaic-wide sky mesh, and the chunk store that workers read.

First stage of the data flow: mosaics -> chunk store -> windows.
"""
