"""How much adaptation helps, measured on places that the shipped models never heard."""
