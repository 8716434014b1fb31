"""The reference kernel as a whole: its own tests, all managers together, healthy and damaged."""
