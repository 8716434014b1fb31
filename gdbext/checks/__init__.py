"""The invariants: rules that a healthy kernel keeps. Each looks at snapshots and yields what is broken."""
