"""METEOR 1.5 in Python: normalise, match, align, score. Data comes from the installed wheel.

Denkowski and Lavie, WMT 2014; checked against their Java program.
"""
