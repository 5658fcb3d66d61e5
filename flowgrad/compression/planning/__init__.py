"""Plans of what to prune and to quantise, from what training left behind and a calibration."""
