"""What the machine gives: files, processes, random numbers, memory. It knows nothing of faces."""
