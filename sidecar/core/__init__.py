"""Pure decisions: no clock, no loop, no files. Time comes in as `now_s` (Unix seconds)."""
