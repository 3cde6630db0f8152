"""The portable runtime's runs: what each of them reads."""
