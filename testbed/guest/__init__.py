"""The virtual-time kernel, booting it, and the code that guests see."""
