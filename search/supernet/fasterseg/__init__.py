"""The supernet of FasterSeg's grid: slimmable cells that a teacher and a student share."""
