"""Redis and its descendants, as far as `redis-cli` 7.0 or newer speaks with them."""
