"""ScanNet v2 as it is downloaded: streams, meshes, segments, alignments, Mask3D; and its conversion."""
