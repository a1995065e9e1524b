"""The crash matrix: runs that die everywhere and in every way, judged by the suite's own last words."""
