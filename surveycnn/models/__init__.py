"""The networks: their cards, their packages on disk, and the functions that build them."""
