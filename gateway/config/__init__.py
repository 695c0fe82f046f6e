"""KrakenD's configuration: from a file to frozen Structs, with every problem at once."""
