"""carobatch: what happens to a journal outside the host process: seal, pack, export, verify, import, acknowledge.

It imports carojournal, never the reverse.
"""

__all__: list[str] = []
