"""Files of a catalog, ours and others': how they are written, and read by rows, columns and parts of the sky."""
