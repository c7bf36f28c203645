"""From YAML below `targets/` to a frozen `Project`; whatever is wrong is told at once, with file and line."""
