"""The world behind the ports: Triton, its stage folders, the store, SQLite."""
