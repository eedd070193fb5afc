"""What the S3 store is made of: credentials, connections, pages, versions, refusals."""
