"""The commands' answers: a function for each command, of its name, queries the session and returns a result.

No decoding, no printing. It is loaded when a command is first used, with all that is behind it.
"""
