"""The ground floor of all four packages: files written whole, strict YAML, texts of errors, signals."""
