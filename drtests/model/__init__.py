"""What people declare (`bia.yaml`, `estate.yaml`, `systems/*.yaml`) and the words used for it."""
