"""SPAR-7M: spatial questions about one or more views, with marks painted on them."""
