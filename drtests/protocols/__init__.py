"""The seams: what the drill asks of hosts, engines, checks and clocks. No implementation, no I/O."""
