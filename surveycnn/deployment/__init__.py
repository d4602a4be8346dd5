"""Whether what is in deploy/ is right, and what this machine lacks to use it."""
