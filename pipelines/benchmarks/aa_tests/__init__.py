"""Makes A/A comparisons on real training: how often does each test reject where there is nothing to find?"""
