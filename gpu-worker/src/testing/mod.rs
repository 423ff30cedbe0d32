//! What tests here and elsewhere need to judge pictures. Built with the feature `testing` alone.

pub mod shapes;
