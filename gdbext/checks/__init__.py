"""The invariants: rules that a healthy kernel keeps. Each checks snapshots and yields what is broken."""
