"""`vramguard run`: any command, with every Python process below it on an emulated card."""
