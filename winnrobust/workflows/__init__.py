"""What the commands do, from start to end: the layers of the package put in a row."""
