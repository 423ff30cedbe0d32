//! Where noise comes from. It is made on the CPU whatever the device, so that a seed means one picture everywhere.

mod mt19937;

pub use mt19937::Mt19937;
