"""What `worldcritic doctor` checks: environment, generator, its training, critic; each check is one plain function."""
