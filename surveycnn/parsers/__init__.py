"""What the commands take: a parser made without importing any of what they run."""
