"""Tasks as masks: which cells of a clip are given and which are to be generated."""
