"""Values and rules: what a ref, a digest, a manifest and a mark are, and what follows from them.

Nothing here does I/O, knows asyncio or imports a third party.
"""
