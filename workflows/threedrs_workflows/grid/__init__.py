"""From a grid file to cells, or to every fault in it."""
