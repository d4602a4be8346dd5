"""How a catalog is made: tile files merged pixel by pixel, partitions, other formats, and the swap that publishes them."""
