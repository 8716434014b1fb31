"""The rules of physical managers and of frame owners; one frame, and the map of all frames."""
