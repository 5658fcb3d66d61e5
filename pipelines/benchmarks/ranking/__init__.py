"""Are our ranking models as good as those of a library that people use, on the same data and split?"""
