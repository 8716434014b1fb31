"""The rules of heaps, the search for leaks, and the map of a heap."""
