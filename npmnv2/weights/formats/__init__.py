"""The containers that weights come in, a file each: what is in the bytes, not what it means."""
