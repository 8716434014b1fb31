"""What a profile says, compiled against a kernel's symbols: the same records, or every problem named."""
