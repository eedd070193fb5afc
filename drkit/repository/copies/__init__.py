"""Second stores: what is copied there, in which order, and how a store is mended from another."""
