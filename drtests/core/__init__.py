"""Pure judgement: no files, clocks or sockets."""
