//! The tintype program: up, generate, doctor.
