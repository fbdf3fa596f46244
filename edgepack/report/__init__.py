"""Views of what a build did: JSON beside the bundle, text for a terminal."""
