"""The commit protocol and expiry as a pure state machine, explored over all interleavings."""
