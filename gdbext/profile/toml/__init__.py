"""From a TOML file to what it says: values checked against the language, each mistake with its line."""
