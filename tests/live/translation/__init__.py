"""Page tables of the running reference kernel."""
