"""The rules of physical managers and of who has frames; one frame, and the map of all of them."""
