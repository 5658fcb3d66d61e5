"""Draws the pictures of a page as SVG; colours, fonts and dark mode are the style's."""

from flowgrad.html.drawing.draw import Drawing, draw

__all__ = ["Drawing", "draw"]
