"""What analyses compute of tensors and modules: mathematics alone, no plans and no files."""
