"""What a query selects: regions of the sky, conditions, ids, and how little of the files is read for them."""
