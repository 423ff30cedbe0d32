//! What tests here and elsewhere need to judge pictures. Built with the feature `testing` alone.

pub mod follow;
pub mod shapes;
