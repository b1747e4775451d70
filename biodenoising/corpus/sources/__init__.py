"""Where recordings come from: one interface (search, then download), one small module a source."""
