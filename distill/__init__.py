"""Making a critic: teachers, label journal, SFT data, SFT and calibration."""
