"""From stamps to catalog columns: scaling, the engines that run the networks, and what their outputs mean."""
