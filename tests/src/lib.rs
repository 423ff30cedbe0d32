//! Nothing: this package holds whole-system tests, which are in `e2e/` and `tidy/`. No program may depend on it.
