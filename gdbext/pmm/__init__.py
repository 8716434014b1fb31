"""Physical memory managers: each kind is read, with a bound profile, into an immutable snapshot."""
