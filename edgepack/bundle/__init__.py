"""The file that ships, format ``edgepack/1``: always written alike, read without trust."""
