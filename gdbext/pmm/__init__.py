"""Physical memory managers: each kind is read, given a bound profile, into a snapshot that never changes."""
