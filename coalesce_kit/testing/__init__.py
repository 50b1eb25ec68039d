"""What tests of code that coalesces need: time that jumps, and a check that nothing was left behind."""
