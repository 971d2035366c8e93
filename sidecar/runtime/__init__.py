"""The asyncio shell: observe -> plan -> execute -> record."""
