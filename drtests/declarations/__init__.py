"""From `targets/*.yaml` to a frozen `Project`, with every problem at its file and line."""
