"""Where bytes lie: content-addressed artifacts, local or S3, and teacher features."""
