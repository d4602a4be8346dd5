"""The product: its columns and flags, how tile results are merged and published, and how a catalog is queried."""
