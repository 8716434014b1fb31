"""What the commands answer: a function for each, of its name, asks the session and hands back a result.

No decoding, no printing. It is loaded when a command is first used, with all that is behind it.
"""
