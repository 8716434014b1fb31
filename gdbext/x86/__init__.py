"""The processor's rules and nothing else: entry formats, paging modes, walks, enumeration, effective rights."""
