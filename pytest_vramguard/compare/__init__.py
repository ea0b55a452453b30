"""`vramguard compare`: two commits side by side on the same device, judged by the gates that compare."""
