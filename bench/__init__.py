"""What gdbext costs, as ratios measured within one run."""
