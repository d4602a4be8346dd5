"""What the commands do, one module for each family; they print, and compute nothing themselves."""
