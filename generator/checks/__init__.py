"""What is found out about exported files, each in a process of its own."""
