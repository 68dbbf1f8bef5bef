"""Multi3DRefer: find all objects a sentence describes: none, one or several."""
