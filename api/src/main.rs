//! The program: reads the command line and the environment, then runs the library until told to stop.

fn main() {}
