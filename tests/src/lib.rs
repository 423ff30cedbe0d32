//! Helpers the whole-system tests share. No test lives here and no program may depend on it.
