"""What is looked at in a restored system. One kind of check a file."""
