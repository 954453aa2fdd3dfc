"""The page: plain files, served as they are. A package only so that a wheel carries them."""
