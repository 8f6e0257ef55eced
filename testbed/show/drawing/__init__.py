"""What all figures have in common: style, layout, counting, wording, writing files."""
