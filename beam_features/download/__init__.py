"""Download public datasets and lay them out as the feature job reads them."""
