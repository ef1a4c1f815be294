"""The words of flowbridge as plain values: standard library only, no I/O."""
