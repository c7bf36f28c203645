"""The recovery kit: what people need when all is down, as files and as one printable document."""
