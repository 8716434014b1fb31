"""One stopped machine: where its memory is read from, its processor's state, its memory map."""
