"""What the store of Google Cloud Storage is made of: keys, tokens, connections, refusals."""
