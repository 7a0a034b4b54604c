"""What a coordinator runs to host a federation: keys, processes, admission, status."""
