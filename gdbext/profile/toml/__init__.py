"""Reading a profile's TOML file: values are checked against the language, and each error names its line."""
