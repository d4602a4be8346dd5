"""One simulated challenge for lens finders: ours beside the methods of the literature, trained and scored alike."""
